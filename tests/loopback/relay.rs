//! A TCP relay between a client and its server: the network, as far as a bridge can see, which a test can break.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use socket2::Socket;

/// What becomes of bytes, and of new connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Works,
    /// Connections are reset, new ones as well.
    Refuses,
    /// What is sent is taken and thrown away, on connections that were there and on new ones. Such a connection is
    /// useless ever after.
    Swallows,
    /// Nothing is taken, and nothing lost.
    Holds,
}

/// Where a connection comes from, and where it goes to.
type Ends = [TcpStream; 2];

struct State {
    target: u16,
    network: Network,
    connections: Vec<Arc<Ends>>,
    stopped: bool,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// A relay to a port of 127.0.0.1, on one of its own.
pub struct Relay {
    port: u16,
    shared: Shared,
}

impl Relay {
    /// A relay that works.
    pub fn to(target: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { target, network: Network::Works, connections: Vec::new(), stopped: false };
        let shared: Shared = Arc::new((Mutex::new(state), Condvar::new()));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Relay { port, shared }
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets all connections, and every new one, until the relay works again.
    pub fn refuse(&self) {
        let mut state = self.set(Network::Refuses);
        state.connections.drain(..).for_each(|ends| reset(&ends));
    }

    /// Throws away everything that is sent, without a word to either side.
    pub fn swallow(&self) {
        drop(self.set(Network::Swallows));
    }

    /// Keeps everything that is sent, as far as buffers go.
    pub fn hold(&self) {
        drop(self.set(Network::Holds));
    }

    /// Works again.
    pub fn restore(&self) {
        drop(self.set(Network::Works));
    }

    /// Connects to another port from now on.
    pub fn go_to(&self, target: u16) {
        self.shared.0.lock().unwrap().target = target;
    }

    fn set(&self, network: Network) -> std::sync::MutexGuard<'_, State> {
        let (state, changed) = &*self.shared;
        let mut state = state.lock().unwrap();
        state.network = network;
        changed.notify_all();
        state
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let mut state = self.set(Network::Refuses);
        state.stopped = true;
        state.connections.drain(..).for_each(|ends| reset(&ends));
        drop(state);
        // Wakes the thread that accepts; that it has ended already is as good.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn accept(listener: &TcpListener, shared: &Shared) {
    for near in listener.incoming() {
        let near = near.unwrap();
        let mut state = shared.0.lock().unwrap();
        if state.stopped {
            return;
        }
        let far = match state.network {
            Network::Refuses => None,
            // The server may be gone.
            _ => TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], state.target))).ok(),
        };
        let Some(far) = far else {
            let near = Socket::from(near);
            near.set_linger(Some(Duration::ZERO)).unwrap();
            continue;
        };
        [&near, &far].iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let ends = Arc::new([near, far]);
        state.connections.push(Arc::clone(&ends));
        drop(state);
        for from in [0, 1] {
            let (ends, shared) = (Arc::clone(&ends), Arc::clone(shared));
            std::thread::spawn(move || pump(&ends, from, &shared));
        }
    }
}

/// One direction of a connection.
fn pump(ends: &Ends, from: usize, shared: &Shared) {
    let (mut source, mut sink) = (&ends[from], &ends[1 - from]);
    let mut bytes = [0; 4096];
    let mut is_useless = false;
    loop {
        let read = source.read(&mut bytes);
        let (state, changed) = &**shared;
        let state = state.lock().unwrap();
        let state = changed.wait_while(state, |state| state.network == Network::Holds).unwrap();
        is_useless |= state.network == Network::Swallows;
        drop(state);
        // A write fails when the other side has closed; the read that follows finds that out too.
        match read {
            Ok(0) | Err(_) if is_useless => return,
            Ok(_) if is_useless => {}
            Ok(0) => {
                let _ = sink.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) => {
                let _ = sink.write_all(&bytes[..count]);
            }
            Err(_) => return reset(ends),
        }
    }
}

/// Ends a connection at both sides by a reset, as far as it is there.
fn reset(ends: &Ends) {
    for stream in ends {
        let socket = Socket::from(stream.try_clone().unwrap());
        let _ = socket.set_linger(Some(Duration::ZERO));
        let _ = socket.shutdown(Shutdown::Both);
    }
}
