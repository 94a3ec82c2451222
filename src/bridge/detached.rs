//! Calls that may wait for somebody else, on a thread of their own: looking up a name, joining a software bus.
//!
//! The thread is not waited for when the process ends (a runtime's own pool of threads would be).

use std::io;

use tokio::sync::oneshot;

/// Runs `call` on a new thread and comes back with its result.
///
/// # Errors
/// The kernel makes no thread: this user, or this service, may have no more of them, or there is no memory.
///
/// # Panics
/// If the call panics.
pub async fn run<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // Whoever asked may have given up by now.
        let _ = sender.send(call());
    })?;
    Ok(receiver.await.expect("the thread sends before it ends"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_result_comes_back() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(super::run(|| 6 * 7)).unwrap(), 42);
    }
}
