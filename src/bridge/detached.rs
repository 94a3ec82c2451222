//! Calls that may wait for somebody else, on a thread of their own: looking up a name, joining a software bus.
//!
//! The thread is not waited for when the process ends (a runtime's own pool of threads would be).

use tokio::sync::oneshot;

/// Runs `call` on a new thread and comes back with its result.
///
/// # Panics
/// If the call panics.
pub async fn run<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // Whoever asked may have given up by now.
        let _ = sender.send(call());
    });
    receiver.await.expect("the thread sends before it ends")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_result_comes_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(super::run(|| 6 * 7)), 42);
    }
}
