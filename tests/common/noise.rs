//! Connections that are no peers.

use std::io::Write;
use std::net::TcpStream;

use crate::raw_peer::GREETING;

/// Connections of noise at the same time.
pub const NOISE: usize = 200;

/// A connection of one of eight kinds. Each is closed by the server, but for those that it must take for peers of version 4.0.
pub fn noise(kind: usize, port: u16, random: &mut fastrand::Rng) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut garbage = [0; 300];
    garbage.iter_mut().for_each(|byte| *byte = random.u8(..));
    let written = match kind % 8 {
        0 => Ok(()),
        1 => stream.write_all(&garbage),
        2 => stream.write_all(b"CANIP/4.1 FEAT=SEQ"),
        3 => stream.write_all(&[GREETING, &garbage].concat()),
        4 => stream.write_all(&[b"CANIP/4.1 V=5\n", &garbage[..]].concat()),
        5 => stream.write_all(b"CANIP/4.1 V=5\n"),
        6 => stream.write_all(&[0, 4, 0x23]),
        _ => stream.write_all(b"GET / HTTP/1.1\r\nHost: pi\r\n\r\n"),
    };
    // The server may have closed it by then.
    drop(written);
    stream
}
