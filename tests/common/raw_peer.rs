//! A peer of version 4 that is nothing but a TCP stream and bytes written out by the test.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::program::PATIENCE;

/// The line that offers, or agrees on, sequence numbers.
pub const GREETING: &[u8] = b"CANIP/4.1 FEAT=SEQ\n";

/// The line that offers version 5.
pub const GREETING_V5: &[u8] = b"CANIP/4.1 V=5\n";

/// What a server answers, which offers version 5 too.
pub const ANSWER: &[u8] = b"CANIP/4.1 FEAT=SEQ V=5\n";

/// A client made of bytes.
pub struct RawPeer {
    stream: TcpStream,
}

impl RawPeer {
    /// A connection on which nothing was said.
    pub fn connect(port: u16) -> RawPeer {
        RawPeer::from(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    /// A connection from another address of this host, 127.0.0.2 or higher.
    pub fn connect_from(source: [u8; 4], port: u16) -> RawPeer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        RawPeer::from(TcpStream::from(socket))
    }

    /// With as little receive buffer as the kernel gives: a peer that does not read is full at once.
    pub fn connect_narrow(port: u16) -> RawPeer {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(1).unwrap();
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        RawPeer::from(TcpStream::from(socket))
    }

    /// A peer of version 4.1 that has agreed on sequence numbers, and whose connection is on the bus.
    pub fn greeted(port: u16) -> RawPeer {
        let mut peer = RawPeer::connect(port);
        peer.send(GREETING);
        peer.expect(ANSWER);
        peer
    }

    fn from(stream: TcpStream) -> RawPeer {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        RawPeer { stream }
    }

    /// How the server names this peer.
    pub fn name(&self) -> String {
        format!("client {}", self.stream.local_addr().unwrap())
    }

    /// Sends bytes in one call.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Waits for as many bytes, which must be these.
    pub fn expect(&mut self, bytes: &[u8]) {
        let mut received = vec![0; bytes.len()];
        self.stream.read_exact(&mut received).unwrap();
        if received != bytes {
            let at = received.iter().zip(bytes).position(|(a, b)| a != b).unwrap();
            let (from, to) = (at.saturating_sub(18), (at + 36).min(bytes.len()));
            panic!("from byte {from}: {:02X?}, expected {:02X?}", &received[from..to], &bytes[from..to]);
        }
    }

    /// Waits for these bytes, and does something again and again until they come.
    pub fn expect_meanwhile(&mut self, bytes: &[u8], mut meanwhile: impl FnMut()) {
        self.stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            meanwhile();
            match self.stream.peek(&mut [0]) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
                        && Instant::now() < deadline => {}
                peeked => break assert_eq!(peeked.unwrap(), 1, "the server has closed the connection"),
            }
        }
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.expect(bytes);
    }

    /// Waits for as many bytes, whatever they are.
    pub fn read(&mut self, count: usize) -> Vec<u8> {
        let mut received = vec![0; count];
        self.stream.read_exact(&mut received).unwrap();
        received
    }

    /// The same, where they do not matter.
    pub fn skip(&mut self, count: usize) {
        self.read(count);
    }

    /// Says that nothing more comes.
    pub fn finish(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// Waits until the server has closed the connection, in order or not.
    pub fn wait_closed(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server did not close the connection: {error}"),
        }
    }

    /// Closes the connection by a reset.
    pub fn reset(self) {
        let socket = Socket::from(self.stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// A data frame of four bytes with a standard identifier as version 4 writes it, with its sequence number if there
/// is one: flags, dlc, identifier (little-endian), payload of eight bytes, sequence number (big-endian).
pub fn encoded(identifier: u16, payload: [u8; 4], sequence: Option<u32>) -> Vec<u8> {
    let [low, high] = identifier.to_le_bytes();
    let [a, b, c, d] = payload;
    let mut bytes = vec![0, 4, low, high, 0, 0, a, b, c, d, 0, 0, 0, 0];
    bytes.extend(sequence.map(u32::to_be_bytes).into_iter().flatten());
    bytes
}
