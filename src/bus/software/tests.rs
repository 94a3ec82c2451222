//! Whole buses in this process and in killed ones.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::bus::{Batch, Packet, PacketInfo, Receiver, send};
use crate::frame::{Frame, Identifier, Image};

/// Nothing here takes seconds; what is not there after ten never comes.
const PATIENCE: Duration = Duration::from_secs(10);

fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn data(identifier: u32, number: u32) -> Frame {
    Frame::data(Identifier::standard(identifier).unwrap(), &number.to_be_bytes()).unwrap()
}

fn fd(number: u32) -> Frame {
    Frame::fd(Identifier::standard(1).unwrap(), &number.to_be_bytes(), 0).unwrap()
}

fn number_of(image: Image<'_>) -> u32 {
    u32::from_be_bytes(image.payload().try_into().unwrap())
}

fn wait(bus: &impl AsFd, events: i16) {
    use std::os::fd::AsRawFd;
    let mut request = libc::pollfd { fd: bus.as_fd().as_raw_fd(), events, revents: 0 };
    // SAFETY: one pollfd, writable.
    let ready = unsafe { libc::poll(&raw mut request, 1, PATIENCE.as_millis() as i32) };
    assert_eq!(ready, 1, "nothing happened for {PATIENCE:?}");
}

fn send_frame(bus: &impl AsFd, frame: &Frame) {
    send_packet(bus, frame.image().as_bytes());
}

/// Sends frames of one size, as many in one packet as fit.
fn send_batches(bus: &impl AsFd, frames: impl IntoIterator<Item = Frame>) {
    let mut batch = Batch::EMPTY;
    for frame in frames {
        if !batch.push(frame.image()) {
            send_packet(bus, batch.packet());
            batch.clear();
            assert!(batch.push(frame.image()));
        }
    }
    send_packet(bus, batch.packet());
}

fn send_packet(bus: &impl AsFd, packet: &[u8]) {
    loop {
        match send(bus.as_fd(), packet) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(bus, libc::POLLOUT),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Receives one batch; false at the end of the stream.
fn receive(bus: &impl AsFd, receiver: &mut Receiver) -> bool {
    loop {
        match receiver.receive(bus.as_fd()) {
            Ok(count) => return count > 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(bus, libc::POLLIN),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Receives this many frames, and none beyond them; how many are in each packet.
fn receive_frames(bus: &impl AsFd, count: usize, mut each: impl FnMut(Image<'_>, PacketInfo)) -> Vec<usize> {
    let mut receiver = Receiver::new();
    let mut packets = Vec::new();
    while packets.iter().sum::<usize>() < count {
        assert!(receive(bus, &mut receiver), "the stream ended after {} packets", packets.len());
        for received in receiver.iter() {
            match interpret(received.packet) {
                Packet::Frames(images) => {
                    packets.push(images.len());
                    images.for_each(|image| each(image, received.info));
                }
                Packet::Welcome { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(packets.iter().sum::<usize>(), count);
    packets
}

fn numbers(bus: &impl AsFd, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    receive_frames(bus, count, |image, _| numbers.push(number_of(image)));
    numbers
}

fn assert_nothing_there(bus: &impl AsFd) {
    let error = Receiver::new().receive(bus.as_fd()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn every_frame_goes_to_all_but_its_sender_in_order() {
    let name = unique_name();
    let members: Vec<_> = (0..5).map(|_| join(&name, None).unwrap()).collect();
    assert!(members[0].hosts() && members[1..].iter().all(|member| !member.hosts()));
    let expected: Vec<u32> = (0..1000).collect();
    std::thread::scope(|scope| {
        for member in &members[1..] {
            scope.spawn(|| assert_eq!(numbers(member, expected.len()), expected));
        }
        for &number in &expected {
            send_frame(&members[0], &data(0x123, number));
        }
    });
    // What the others send afterwards is the first that the sender sees.
    send_frame(&members[4], &data(0x123, 7777));
    assert_eq!(numbers(&members[0], 1), [7777]);
    assert_nothing_there(&members[0]);
    assert_nothing_there(&members[4]);
}

#[test]
fn all_members_see_several_senders_in_one_order() {
    const EACH: u32 = 2000;
    let name = unique_name();
    let watchers = [join(&name, None).unwrap(), join(&name, None).unwrap()];
    let senders = [join(&name, None).unwrap(), join(&name, None).unwrap(), join(&name, None).unwrap()];
    let seen = std::thread::scope(|scope| {
        for (index, sender) in senders.iter().enumerate() {
            scope.spawn(move || {
                (0..EACH).for_each(|number| send_frame(sender, &data(1, (index as u32) << 16 | number)));
            });
        }
        let watch = |bus| scope.spawn(move || numbers(bus, 3 * EACH as usize));
        let handles: Vec<_> = watchers.iter().map(watch).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(seen[0], seen[1]);
    for sender in 0..3 {
        let own = seen[0].iter().filter(|number| *number >> 16 == sender).map(|number| number & 0xFFFF);
        assert!(own.eq(0..EACH), "sender {sender} is out of order");
    }
}

#[test]
fn frames_of_every_kind_cross_with_their_receive_times() {
    let name = unique_name();
    let (left, right) = (join(&name, None).unwrap(), join(&name, None).unwrap());
    let id = Identifier::extended(0x1ABC_DEF0).unwrap();
    let frames = [
        Frame::data(id, &[1, 2, 3]).unwrap(),
        Frame::data(id, &[0; 8]).unwrap().with_raw_dlc(13).unwrap(),
        Frame::remote(id, 5).unwrap(),
        Frame::error(0x40, [1; 8]),
        Frame::fd(id, &[9; 64], 1).unwrap(),
    ];
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    frames.iter().for_each(|frame| send_frame(&left, frame));
    let mut index = 0;
    receive_frames(&right, frames.len(), |image, info| {
        assert_eq!(image, frames[index].image());
        let age = info
            .received_at
            .expect("a receive time")
            .as_nanos()
            .checked_sub(before)
            .expect("not before sending");
        assert!(u128::from(age) < PATIENCE.as_nanos());
        assert_eq!(info.dropped_total, None);
        index += 1;
    });
}

#[test]
fn a_slow_member_alone_loses_frames_and_is_told_how_many() {
    lose_frames(|sender, frames| frames.iter().for_each(|frame| send_frame(sender, frame)));
}

#[test]
fn of_a_flood_in_batches_every_lost_frame_is_counted() {
    lose_frames(|sender, frames| send_batches(sender, frames.iter().copied()));
}

fn lose_frames(send_all: impl Fn(&Membership, &[Frame])) {
    // More than the socket and the hub hold together, all packets being full.
    const FRAMES: u32 = 200_000;
    let name = unique_name();
    let sender = join(&name, None).unwrap();
    let (slow, fast) = (join(&name, None).unwrap(), join(&name, None).unwrap());
    for first in (0..FRAMES).step_by(1000) {
        let frames: Vec<_> = (first..first + 1000).map(|number| data(1, number)).collect();
        send_all(&sender, &frames);
        assert!(numbers(&fast, 1000).into_iter().eq(first..first + 1000));
    }
    // It has lost the newest. It is told as soon as it has room; what is sent after that is behind the gap.
    let (mut next, mut gap, mut after) = (0, None, None);
    let mut receiver = Receiver::new();
    while after.is_none() {
        assert!(receive(&slow, &mut receiver));
        for received in receiver.iter() {
            match interpret(received.packet) {
                Packet::Frames(images) => {
                    for image in images {
                        if gap.is_some() {
                            assert_eq!(after.replace(number_of(image)), None);
                        } else {
                            assert_eq!(number_of(image), next);
                            next += 1;
                        }
                    }
                }
                Packet::Dropped { total } => {
                    assert_eq!(gap.replace(total), None);
                    send_frame(&sender, &data(1, 99_999));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(next >= 8192, "only {next} frames were kept");
    assert_eq!(gap, Some(u64::from(FRAMES - next)));
    assert_eq!(after, Some(99_999));
}

fn interpret(packet: &[u8]) -> Packet<'_> {
    crate::bus::interpret(crate::bus::BusKind::Software, packet)
}

#[test]
fn a_member_that_sends_no_frames_is_disconnected() {
    let name = unique_name();
    let host = join(&name, None).unwrap();
    let mut too_long = [0; 16];
    too_long[4] = 9;
    let mut batch = Batch::EMPTY;
    (0..2).for_each(|number| assert!(batch.push(data(1, number).image())));
    // The payload length of the second image.
    let mut bad_batch = batch.packet().to_vec();
    bad_batch[8 + 16 + 4] = 9;
    let cut_batch = &batch.packet()[..39];
    for noise in [&[1; 8][..], &[0; 17], &[0; 100], &[0; 2000], &too_long, &bad_batch, cut_batch] {
        let noisy = join(&name, None).unwrap();
        send_frame(&noisy, &data(1, 1));
        send(noisy.as_fd(), noise).unwrap();
        assert!(!receive(&noisy, &mut Receiver::new()), "{} bytes", noise.len());
        assert_eq!(numbers(&host, 1), [1]);
    }
}

#[test]
fn what_a_member_sent_before_it_left_arrives() {
    let name = unique_name();
    let (left, right) = (join(&name, None).unwrap(), join(&name, None).unwrap());
    // Never read by `right`, so that its close looks like a reset to the hub.
    send_frame(&left, &data(1, 0));
    wait(&right, libc::POLLIN);
    (0..100).for_each(|number| send_frame(&right, &data(1, number)));
    drop(right);
    assert!(numbers(&left, 100).into_iter().eq(0..100));
}

#[test]
fn leaving_waits_for_the_hub() {
    let name = unique_name();
    let (left, right) = (join(&name, None).unwrap(), join(&name, None).unwrap());
    (0..100).for_each(|number| send_frame(&right, &data(1, number)));
    leave(&name, right.into_parts().0).unwrap();
    assert!(numbers(&left, 100).into_iter().eq(0..100));
}

#[test]
fn a_host_that_leaves_hands_over_what_was_sent() {
    let name = unique_name();
    let (host, watcher) = (join(&name, None).unwrap(), join(&name, None).unwrap());
    (0..5000).for_each(|number| send_frame(&host, &data(1, number)));
    drop(host);
    assert!(numbers(&watcher, 5000).into_iter().eq(0..5000));
    assert!(!receive(&watcher, &mut Receiver::new()));
}

#[test]
fn a_host_that_leaves_admits_nobody() {
    let name = unique_name();
    let address = membership::address_of(&name).unwrap();
    let listener = system::seqpacket_socket().unwrap();
    system::listen(&listener, &address).unwrap();
    // Told to stop first, the hub finds the joiner in the same turn.
    let stop = std::sync::Arc::new(system::event().unwrap());
    system::signal(&stop).unwrap();
    let hub = hub::Hub::new(&name, listener, None, 3, stop).unwrap();
    let joiner = system::seqpacket_socket().unwrap();
    system::connect(&joiner, &address).unwrap();
    hub.run().unwrap();
    assert!(!receive(&joiner, &mut Receiver::new()), "it was welcomed");
}

/// Every member sees the end of its stream, joins anew at the same moment as the others, and all find each other.
fn take_over(name: &str, members: Vec<OwnedFd>) {
    let start = Barrier::new(members.len());
    let rejoined: Vec<_> = std::thread::scope(|scope| {
        let again = |member: OwnedFd| {
            let start = &start;
            scope.spawn(move || {
                assert!(!receive(&member, &mut Receiver::new()));
                start.wait();
                join(name, None).unwrap()
            })
        };
        let handles: Vec<_> = members.into_iter().map(again).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    });
    assert_eq!(rejoined.iter().filter(|member| member.hosts()).count(), 1);
    for (index, member) in rejoined.iter().enumerate() {
        send_frame(member, &data(1, index as u32));
    }
    for (index, member) in rejoined.iter().enumerate() {
        let others: BTreeSet<u32> =
            (0..rejoined.len() as u32).filter(|other| *other != index as u32).collect();
        let seen: BTreeSet<u32> = numbers(member, others.len()).into_iter().collect();
        assert_eq!(seen, others);
    }
}

#[test]
fn one_of_three_takes_over_when_the_host_leaves() {
    for _ in 0..20 {
        let name = unique_name();
        let host = join(&name, None).unwrap();
        let members = (0..3).map(|_| join(&name, None).unwrap().into_parts().0).collect();
        drop(host);
        take_over(&name, members);
    }
}

/// Tells the child process of the next test which bus to host.
const CHILD_BUS: &str = "CANIP_PEER_TEST_BUS";

#[test]
fn one_of_three_takes_over_when_the_host_is_killed() {
    if let Ok(name) = std::env::var(CHILD_BUS) {
        let membership = join(&name, None).unwrap();
        println!("\nhosts: {}", membership.hosts());
        loop {
            std::thread::park();
        }
    }
    let name = unique_name();
    let mut child = Killed(
        Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "bus::software::tests::one_of_three_takes_over_when_the_host_is_killed",
            ])
            .env(CHILD_BUS, &name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.map(Result::unwrap).any(|line| line == "hosts: true"));
    let members = (0..3).map(|_| join(&name, None).unwrap().into_parts().0).collect();
    child.0.kill().unwrap();
    take_over(&name, members);
}

/// A child process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have been killed already; either way it is gone and gets reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_bus_has_one_pace() {
    let name = unique_name();
    let host = join(&name, Some(500_000)).unwrap();
    assert_eq!(host.paced_bit_rate(), Some(500_000));
    assert_eq!(join(&name, None).unwrap().paced_bit_rate(), Some(500_000));
    assert_eq!(join(&name, Some(500_000)).unwrap().paced_bit_rate(), Some(500_000));
    let refusal = join(&name, Some(250_000)).unwrap_err().to_string();
    assert!(refusal.contains("250000 bit/s") && refusal.contains("500000 bit/s"), "{refusal}");
    let unpaced_name = unique_name();
    let _unpaced = join(&unpaced_name, None).unwrap();
    let refusal = join(&unpaced_name, Some(250_000)).unwrap_err().to_string();
    assert!(refusal.contains("250000 bit/s") && refusal.contains("not paced"), "{refusal}");
    assert!(matches!(join(&name, Some(999)), Err(BusError::SoftwareBitRate { .. })));
}

#[test]
fn names_are_checked() {
    let longest = "n".repeat(64);
    for name in ["a", "bus0", "My_bus-1.2", &longest] {
        assert!(is_valid_name(name), "{name}");
    }
    let too_long = "n".repeat(65);
    for name in ["", "a b", "a/b", "bus@500000", "bus\0", "büs", &too_long] {
        assert!(!is_valid_name(name), "{name}");
        assert!(matches!(join(name, None), Err(BusError::SoftwareName { .. })));
    }
}

#[test]
fn names_are_read_with_their_pace() {
    assert_eq!(parse_name("bus0").unwrap(), ("bus0", None));
    assert_eq!(parse_name("bus0@500000").unwrap(), ("bus0", Some(500_000)));
    assert_eq!(parse_name("bus0@1000").unwrap(), ("bus0", Some(1_000)));
    assert_eq!(parse_name("bus0@1000000").unwrap(), ("bus0", Some(1_000_000)));
    for text in ["bus0@", "bus0@999", "bus0@1000001", "bus0@500k", "bus0@-1", "bus0@500000@1"] {
        assert!(matches!(parse_name(text), Err(BusError::SoftwareBitRate { .. })), "{text}");
    }
    assert!(matches!(parse_name("@500000"), Err(BusError::SoftwareName { .. })));
    assert_eq!(
        parse_name("bus0@5").unwrap_err().to_string(),
        "software bus bus0 cannot be paced at 5 bit/s: give 1000 to 1000000, for example bus0@500000"
    );
}

#[test]
fn a_bus_opened_by_address_is_hosted_until_told_otherwise() {
    let text = format!("{}@250000", unique_name());
    let address = crate::bus::BusAddress::parse(crate::bus::BusKind::Software, &text).unwrap();
    let opened = open(&address).unwrap();
    assert_eq!(opened.paced_bit_rate, Some(250_000));
    let other = join(&address.name, None).unwrap();
    assert!(!other.hosts());
    // Closing the member that came with it does not move the bus.
    drop(opened);
    let third = join(&address.name, None).unwrap();
    send_frame(&third, &data(1, 5));
    assert_eq!(numbers(&other, 1), [5]);
    assert!(!third.hosts());
    stop_hosting_of(&address.name);
    assert!(!receive(&other, &mut Receiver::new()));
}

#[test]
fn a_full_bus_says_so() {
    let name = unique_name();
    let listener = system::seqpacket_socket().unwrap();
    system::listen(&listener, &membership::address_of(&name).unwrap()).unwrap();
    let _host = Host::start(&name, listener, None, 3).unwrap();
    let mut members: Vec<_> = (0..3).map(|_| join(&name, None).unwrap()).collect();
    assert!(matches!(join(&name, None), Err(BusError::SoftwareFull { members: 3, .. })));
    leave(&name, members.remove(1).into_parts().0).unwrap();
    join(&name, None).unwrap();
}

/// Members of a bus whose hub does not run yet, so that what they send waits, whoever runs when.
fn waiting_bus(name: &str, members: usize) -> (OwnedFd, Vec<OwnedFd>) {
    let address = membership::address_of(name).unwrap();
    let listener = system::seqpacket_socket().unwrap();
    system::listen(&listener, &address).unwrap();
    let connected = |_| {
        let socket = system::seqpacket_socket().unwrap();
        system::set_socket_option(&socket, libc::SO_TIMESTAMPNS, 1).unwrap();
        system::connect(&socket, &address).unwrap();
        socket
    };
    (listener, (0..members).map(connected).collect())
}

/// What the hub finds waiting shares packets, as far as sizes and order allow.
#[test]
fn frames_that_come_together_leave_together() {
    let name = unique_name();
    let (listener, sockets) = waiting_bus(&name, 2);
    let frames: Vec<Frame> =
        (0..30).map(|number| if number == 10 { fd(10) } else { data(1, number) }).collect();
    frames.iter().for_each(|frame| send_frame(&sockets[1], frame));
    let _host = Host::start(&name, listener, None, 2).unwrap();
    let mut index = 0;
    let packets = receive_frames(&sockets[0], frames.len(), |image, _| {
        assert_eq!(image, frames[index].image());
        index += 1;
    });
    assert_eq!(packets, [10, 1, 19]);
}

#[test]
fn batches_of_either_size_keep_their_order() {
    const ROUNDS: u32 = 200;
    let name = unique_name();
    let (sender, watchers) =
        (join(&name, None).unwrap(), [join(&name, None).unwrap(), join(&name, None).unwrap()]);
    std::thread::scope(|scope| {
        for watcher in &watchers {
            scope.spawn(|| assert!(numbers(watcher, 200 * ROUNDS as usize).into_iter().eq(0..200 * ROUNDS)));
        }
        for first in (0..ROUNDS).map(|round| round * 200) {
            send_batches(&sender, (first..first + 100).map(|number| data(1, number)));
            send_batches(&sender, (first + 100..first + 150).map(fd));
            (first + 150..first + 200).for_each(|number| send_frame(&sender, &data(1, number)));
        }
    });
    assert_nothing_there(&sender);
}

/// A sender's batch must not bring it its own frames, whoever else sent in the same turn.
#[test]
fn senders_of_batches_see_the_others_only() {
    let name = unique_name();
    let (listener, sockets) = waiting_bus(&name, 3);
    for (index, socket) in sockets.iter().enumerate() {
        let first = 1000 * index as u32;
        send_batches(socket, (first..first + 500).map(|number| data(1, number)));
    }
    let _host = Host::start(&name, listener, None, 3).unwrap();
    for (index, socket) in sockets.iter().enumerate() {
        let seen = numbers(socket, 1000);
        for other in 0..3 {
            let theirs = seen.iter().copied().filter(|number| number / 1000 == other);
            let expected = if other as usize == index { 0..0 } else { 1000 * other..1000 * other + 500 };
            assert!(theirs.eq(expected), "of {other}, at {index}");
        }
    }
}

#[test]
fn a_paced_bus_takes_one_frame_a_packet() {
    let name = unique_name();
    let address = |text: &str| crate::bus::BusAddress::parse(crate::bus::BusKind::Software, text).unwrap();
    let paced = open(&address(&format!("{name}@500000"))).unwrap();
    assert_eq!(paced.packing, Packing::Single);
    assert_eq!(open(&address(&name)).unwrap().packing, Packing::Single);
    let unpaced_name = unique_name();
    assert_eq!(open(&address(&unpaced_name)).unwrap().packing, Packing::Batches);
    let (noisy, sender) = (join(&name, None).unwrap(), join(&name, None).unwrap());
    send_batches(&noisy, (0..2).map(|number| data(1, number)));
    let mut receiver = Receiver::new();
    while receive(&noisy, &mut receiver) {}
    send_frame(&sender, &data(1, 7));
    assert_eq!(numbers(&paced.descriptor, 1), [7]);
    stop_hosting_of(&name);
    stop_hosting_of(&unpaced_name);
}

#[test]
fn a_host_of_another_version_is_no_bus() {
    let name = unique_name();
    let listener = system::seqpacket_socket().unwrap();
    system::listen(&listener, &membership::address_of(&name).unwrap()).unwrap();
    std::thread::scope(|scope| {
        let joiner = scope.spawn(|| join(&name, None).map(drop));
        wait(&listener, libc::POLLIN);
        let member = system::accept(&listener).unwrap();
        // A welcome that tells of no packet size.
        send(member.as_fd(), &[1, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let refusal = joiner.join().unwrap();
        assert!(matches!(refusal, Err(BusError::SoftwareForeign { .. })), "{refusal:?}");
    });
}

#[test]
fn a_paced_bus_delivers_by_priority() {
    let name = unique_name();
    let (listener, sockets) = waiting_bus(&name, 5);
    let empty = |id: Identifier| Frame::data(id, &[]).unwrap();
    let standard = |raw| Identifier::standard(raw).unwrap();
    send_frame(&sockets[1], &empty(standard(0x010)));
    send_frame(&sockets[1], &empty(standard(0x7FF)));
    send_frame(&sockets[2], &empty(Identifier::extended(0x123 << 18).unwrap()));
    send_frame(&sockets[3], &Frame::remote(standard(0x123), 0).unwrap());
    send_frame(&sockets[4], &empty(standard(0x123)));
    send_frame(&sockets[4], &empty(standard(0x001)));
    let _host = Host::start(&name, listener, Some(100_000), 5).unwrap();
    let mut words = Vec::new();
    receive_frames(&sockets[0], 6, |image, _| words.push(image.id_word()));
    // 0x001 waits behind its sender's 0x123.
    assert_eq!(words, [0x010, 0x123, 0x001, 0x4000_0123, 0x8000_0000 | 0x123 << 18, 0x7FF]);
}

/// With the identifier 0x555 it makes a frame of 111 bits, none of them stuffed.
const UNSTUFFED: [u8; 8] = [0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0xAA, 0x11];

#[test]
fn a_paced_bus_is_as_fast_as_its_wire() {
    // They queue their frames before the hub runs: the load is 100 % from the first frame to the last.
    let name = unique_name();
    let (listener, sockets) = waiting_bus(&name, 9);
    let frame = Frame::data(Identifier::standard(0x555).unwrap(), &UNSTUFFED).unwrap();
    for sender in &sockets[1..] {
        (0..60).for_each(|_| send(sender.as_fd(), frame.image().as_bytes()).unwrap());
    }
    let count = 8 * 60;
    let _host = Host::start(&name, listener, Some(125_000), 9).unwrap();
    let mut times = Vec::new();
    let packets = receive_frames(&sockets[0], count, |_, info| {
        times.push(info.received_at.unwrap().as_nanos());
    });
    assert!(packets.iter().all(|frames| *frames == 1), "each frame has a time of its own");
    // A frame may be seen late, never early: the least late of many shows the schedule, on a machine that keeps up at all.
    // 111 bits take 888 microseconds.
    let least_late_ns = |part: std::ops::Range<usize>| {
        part.map(|index| times[index] as i64 - times[0] as i64 - 888_000 * index as i64).min().unwrap()
    };
    let drift_ns = least_late_ns(count / 2..count) - least_late_ns(0..count / 2);
    // 0.5 % of the time of half of them.
    let tolerance_ns = 888_000 * (count as i64 / 2) / 200;
    assert!(drift_ns.abs() < tolerance_ns, "{drift_ns} ns of drift in {} frames", count / 2);
}

#[test]
fn a_member_of_a_paced_bus_has_a_short_queue() {
    let name = unique_name();
    let _watcher = join(&name, Some(1_000)).unwrap();
    let sender = join(&name, None).unwrap();
    let mut queued = 0;
    while send(sender.as_fd(), data(1, queued).image().as_bytes()).is_ok() {
        queued += 1;
    }
    // Six in its queue, and one or two that the hub has taken from it.
    assert!((6..=8).contains(&queued), "{queued} frames");
}

#[test]
fn leaving_a_paced_bus_delivers_its_queue() {
    let name = unique_name();
    let (watcher, sender) = (join(&name, Some(50_000)).unwrap(), join(&name, None).unwrap());
    (0..5).for_each(|number| send_frame(&sender, &data(1, number)));
    leave(&name, sender.into_parts().0).unwrap();
    assert_eq!(numbers(&watcher, 5), [0, 1, 2, 3, 4]);
}
