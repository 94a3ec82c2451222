//! Members of software buses in the test's own process: frames go in and come out in cansend's notation.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use canip_peer::bus::software::{self, Host};
use canip_peer::bus::{BATCH_BYTES, BusKind, Packet, interpret};
use canip_peer::frame::notation::{parse_compact, write_compact};

use crate::program::PATIENCE;

type Shared = Arc<(Mutex<Vec<String>>, Condvar)>;

/// Something that hangs on a bus and hears every frame.
pub struct Member {
    socket: UnixDatagram,
    received: Shared,
    reader: Option<JoinHandle<()>>,
    /// Kept, when this process hosts the bus, as long as the member.
    _host: Option<Host>,
}

impl Member {
    /// Joins a bus, or hosts it.
    pub fn join(name: &str) -> Member {
        let (descriptor, host) = software::join(name, None).unwrap().into_parts();
        // Receiving and sending are the same calls on any socket that keeps packets apart.
        let socket = UnixDatagram::from(descriptor);
        socket.set_nonblocking(false).unwrap();
        let received = Shared::default();
        let reader = {
            let (socket, received) = (socket.try_clone().unwrap(), Arc::clone(&received));
            std::thread::spawn(move || listen(&socket, &received))
        };
        Member { socket, received, reader: Some(reader), _host: host }
    }

    /// Joins a bus that another process hosts; waits until one does.
    pub fn join_guest(name: &str) -> Member {
        let deadline = Instant::now() + PATIENCE;
        while software::join(name, None).unwrap().hosts() {
            assert!(Instant::now() < deadline, "nobody hosts {name}");
            std::thread::yield_now();
        }
        Member::join(name)
    }

    /// Sends frames, waiting while the bus is busy.
    pub fn send<S: AsRef<str>>(&self, frames: &[S]) {
        for text in frames {
            self.socket.send(parse_compact(text.as_ref()).unwrap().image().as_bytes()).unwrap();
        }
    }

    /// How many frames came so far.
    pub fn count(&self) -> usize {
        self.received.0.lock().unwrap().len()
    }

    /// Waits for as many frames, and returns all that came.
    pub fn wait(&self, count: usize) -> Vec<String> {
        let (received, changed) = &*self.received;
        let frames = received.lock().unwrap();
        let (frames, waited) =
            changed.wait_timeout_while(frames, PATIENCE, |frames| frames.len() < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} frames came: {:?}", frames.len(), frames.last());
        frames.clone()
    }

    /// Waits for as many frames without looking at them.
    pub fn wait_count(&self, count: usize) {
        let (received, changed) = &*self.received;
        let frames = received.lock().unwrap();
        let (frames, waited) =
            changed.wait_timeout_while(frames, PATIENCE, |frames| frames.len() < count).unwrap();
        assert!(!waited.timed_out(), "{} of {count} frames came: {:?}", frames.len(), frames.last());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The host may have closed it before.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

fn listen(socket: &UnixDatagram, shared: &Shared) {
    let (received, changed) = &**shared;
    let mut packet = [0; BATCH_BYTES];
    loop {
        let length = match socket.recv(&mut packet) {
            Ok(0) => return,
            Ok(length) => length,
            // A host that was killed; what it had handed out before can still be read.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => continue,
            Err(error) => panic!("{error}"),
        };
        match interpret(BusKind::Software, &packet[..length]) {
            Packet::Frames(images) => {
                for image in images {
                    let mut text = String::new();
                    write_compact(&mut text, image).unwrap();
                    received.lock().unwrap().push(text);
                }
                changed.notify_all();
            }
            Packet::Welcome { .. } => {}
            // The test itself was too slow, which would look like a loss of the bridge's.
            Packet::Dropped { total } => panic!("the test did not read {total} frames in time"),
            Packet::Malformed => panic!("no frame: {:?}", &packet[..length]),
        }
    }
}
