//! Hosting a bus: the hub's thread, and its end.

use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::hub::Hub;
use super::system;

/// This process hosts a bus as long as it holds this. Dropping it first hands over what members have sent, waiting
/// at most a second for it; then the members see the end of their streams, and one of them hosts the bus anew.
#[derive(Debug)]
pub struct Host {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts the hub's thread on a listening socket.
    pub(super) fn start(
        name: &str,
        listener: OwnedFd,
        paced_bit_rate: Option<u32>,
        members_max: usize,
    ) -> io::Result<Self> {
        let stop = Arc::new(system::event()?);
        let hub = Hub::new(
            name,
            listener,
            paced_bit_rate.and_then(NonZeroU32::new),
            members_max,
            Arc::clone(&stop),
        )?;
        let bus = name.to_owned();
        let body = move || {
            if let Err(error) = system::block_signals().and_then(|()| hub.run()) {
                tracing::error!(bus, %error, "software bus hub ended");
            }
        };
        let thread = thread::Builder::new().name(format!("bus {name}")).spawn(body)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(error) = system::signal(&self.stop) {
            // Without the signal the thread would not end, and waiting for it would hang.
            tracing::error!(%error, "software bus hub cannot be told to stop");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("software bus hub panicked");
        }
    }
}
