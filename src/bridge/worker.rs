//! A thread beside the one that moves frames, for work that takes long or waits for the kernel: one job after the other,
//! on a state that belongs to the thread.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// Why a worker's thread does not answer: a job has panicked, which has been said by then.
const PANICKED: &str = "no job panics";

/// Does jobs in the order in which they are given.
#[derive(Debug)]
pub struct Worker<S> {
    jobs: mpsc::Sender<Job<S>>,
    thread: JoinHandle<S>,
}

impl<S: Send + 'static> Worker<S> {
    /// Starts the thread, which does `first` before any job.
    ///
    /// # Errors
    /// The kernel makes no thread: this user, or this service, may have no more of them, or there is no memory.
    pub fn start(name: &str, mut state: S, first: fn()) -> io::Result<Self> {
        let (jobs, given) = mpsc::channel::<Job<S>>();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            first();
            for job in given {
                job(&mut state);
            }
            state
        })?;
        Ok(Self { jobs, thread })
    }

    /// Gives a job, and comes back with its result. The job is done whether that is waited for or not.
    ///
    /// # Panics
    /// If a job panics.
    pub fn ask<T, J>(&self, job: J) -> impl Future<Output = T> + use<T, J, S>
    where
        T: Send + 'static,
        J: FnOnce(&mut S) -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let job = Box::new(move |state: &mut S| {
            // Whoever asked may have given up by now.
            let _ = sender.send(job(state));
        });
        self.jobs.send(job).expect(PANICKED);
        async { receiver.await.expect(PANICKED) }
    }

    /// Waits until all jobs are done, and comes back with the state.
    ///
    /// # Panics
    /// If a job panics.
    pub fn finish(self) -> S {
        drop(self.jobs);
        self.thread.join().expect(PANICKED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_in_order_and_their_results_come_back() {
        let worker = Worker::start("test", Vec::new(), || ()).unwrap();
        drop(worker.ask(|numbers: &mut Vec<u8>| numbers.push(1)));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let count = runtime.block_on(worker.ask(|numbers| {
            numbers.push(2);
            numbers.len()
        }));
        assert_eq!(count, 2);
        drop(worker.ask(|numbers| numbers.push(3)));
        assert_eq!(worker.finish(), [1, 2, 3], "a job that nobody waits for is done as well");
    }
}
