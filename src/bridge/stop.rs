//! The signals that end a bridge in order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for them.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal is closed; `None` where that is to be ignored, as nohup asks for.
    hang_up: Option<Signal>,
}

impl Stop {
    /// # Errors
    /// The kernel's: no more descriptors.
    pub fn listen() -> io::Result<Self> {
        let ignored =
            std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hang_up(&status));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: if ignored { None } else { Some(signal(SignalKind::hangup())?) },
        })
    }

    /// Comes back with the signal's name when one has arrived.
    pub async fn requested(&mut self) -> &'static str {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = hang_up => "SIGHUP",
        }
    }
}

/// Whether a process ignores SIGHUP, from what proc(5) says of it: the mask of ignored signals, in which bit 0 is signal 1.
fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_seen() {
        let status = |mask| format!("Name:\tcanip_peer\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
        assert!(ignores_hang_up(&status("0000000000001001")));
        assert!(!ignores_hang_up(&status("0000000000001000")));
        assert!(!ignores_hang_up("Name:\tcanip_peer\n"));
    }
}
