//! TCP sockets as a bridge wants them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::session::Keepalive;

/// Connections that may wait to be accepted: as many as there can be links, within what kernels allow by default.
const BACKLOG: i32 = 512;

/// Bytes that the kernel takes before they can be sent (`TCP_NOTSENT_LOWAT`): enough to keep a fast link busy between
/// two turns, and little, because what waits there can no longer be dropped. An eighth of a second at 1 Mbit/s.
const NOT_SENT_BYTES: u32 = 16 * 1024;

/// Bytes of what a peer sent that the kernel may hold for us (`SO_RCVBUF`; the kernel doubles it for its bookkeeping):
/// 100 ms of 50,000 frames a second in the longest version 4 layout, and little, because what a process that was
/// stopped finds there is old.
const RECEIVE_BYTES: usize = 128 * 1024;

/// How long one address of a server is given to answer. A LAN answers in a millisecond, a satellite within a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on `bind`, or on every address, IPv4 and IPv6 (IPv4 alone where the host has no IPv6).
///
/// # Errors
/// The kernel's: port taken, no rights, address not of this host.
pub fn listen(bind: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    match bind {
        Some(address) => listen_on(SocketAddr::new(address, port)),
        None => match listen_on(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
                listen_on(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            result => result,
        },
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port again at once.
    socket.set_reuse_address(true)?;
    // Before the connection, so that the window that is offered fits. Accepted connections inherit it.
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    // As the runtime wants it.
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connects to one of a server's addresses.
///
/// # Errors
/// The kernel's, or `TimedOut` after [`CONNECT_TIMEOUT`].
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(RECEIVE_BYTES as u32)?;
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, socket.connect(address)).await {
        Ok(result) => result?,
        Err(_) => {
            let text = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
    };
    // On the same host a connection to a port where nobody listens can meet itself (RFC 9293, simultaneous open).
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    Ok(stream)
}

/// Sets a connection's options and takes it out of the runtime.
///
/// # Errors
/// The kernel does not know an option; none of them is newer than Linux 3.12.
pub fn into_descriptor(stream: TcpStream, keepalive: Option<Keepalive>) -> io::Result<OwnedFd> {
    let socket = SockRef::from(&stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT_BYTES)?;
    if let Some(Keepalive { interval_s, probes, user_timeout_ms }) = keepalive {
        let interval = Duration::from_secs(interval_s.into());
        let settings = TcpKeepalive::new().with_time(interval).with_interval(interval).with_retries(probes);
        socket.set_tcp_keepalive(&settings)?;
        socket.set_tcp_user_timeout(Some(Duration::from_millis(user_timeout_ms.into())))?;
    }
    Ok(stream.into_std()?.into())
}

/// Leaves it to the session to find out whether its peer lives. TCP's own time-out would also end the connection of a
/// peer that lives and takes no data, for itself or behind a relay.
///
/// # Errors
/// The kernel's; the option is as old as Linux 2.6.37.
pub fn leave_liveness_to_session(stream: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&stream).set_tcp_user_timeout(None)
}

/// Has at most every second segment acknowledged instead of each one, on kernels on which the engines cannot have them
/// acknowledged later still. The kernel takes a stream that goes one way for a bulk
/// transfer, and acknowledges as soon as the receiver has read: for single frames that is a packet back for each. Data
/// of ours still takes the acknowledgement along, and what is left alone is acknowledged after 40 ms; when that happens, the
/// kernel goes back to its habit, so that this is to be said again and again.
///
/// # Errors
/// The kernel's; the option is as old as Linux 2.4.
pub fn delay_acknowledgements(stream: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&stream).set_tcp_quickack(false)
}

/// An address as people write it: an IPv4 client of a dual-stack server without its `::ffff:`.
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn acknowledgements_can_be_delayed_at_any_time() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let theirs: OwnedFd = theirs.into();
        for _ in 0..2 {
            SockRef::from(&theirs).set_tcp_quickack(true).unwrap();
            delay_acknowledgements(theirs.as_fd()).unwrap();
            assert!(!SockRef::from(&theirs).tcp_quickack().unwrap());
        }
    }

    #[test]
    fn ipv4_clients_keep_their_name() {
        assert_eq!(plain("[::ffff:192.0.2.1]:40000".parse().unwrap()).to_string(), "192.0.2.1:40000");
        assert_eq!(plain("[2001:db8::1]:40000".parse().unwrap()).to_string(), "[2001:db8::1]:40000");
    }
}
