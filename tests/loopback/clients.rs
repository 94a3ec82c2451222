//! Many clients of one server: each gets every frame of the bus once, and what one sends reaches all but itself.

use crate::program::unique_name;
use crate::raw_peer::{RawPeer, encoded};
use crate::software_bus::Member;
use crate::{carry, client, numbered, server};

on_each_engine!(two_bridges, a_hundred_peers, one_that_does_not_read);

fn two_bridges(engine: &'static str) {
    let names = [unique_name("bus"), unique_name("one"), unique_name("two")];
    let [bus, one, two] = names.each_ref().map(|name| Member::join(name));
    let server = server(engine, &names[0], "");
    let port = server.port();
    let clients = [&names[1], &names[2]].map(|name| client(engine, name, port, ""));
    for (index, client) in clients.iter().enumerate() {
        client.wait_error("connected to 127.0.0.1:");
        server.wait_errors("connected: version 5", index + 1);
    }

    carry(&bus, &[&one, &two], &numbered(1, 5_000));
    carry(&one, &[&bus, &two], &numbered(2, 1_000));
    carry(&two, &[&bus, &one], &numbered(3, 1_000));
    // A frame that had come back to its sender would have come before this one.
    carry(&bus, &[&one, &two], &numbered(4, 1));
    assert_eq!([bus.count(), one.count(), two.count()], [2_000, 6_001, 6_001]);

    for client in clients {
        let totals = client.interrupt().totals();
        assert_eq!((totals["sent"], totals["received"]), (1_000, 6_001));
    }
    let totals = server.interrupt().totals();
    // 5,001 frames of the bus to two clients, and 1,000 of each to the other.
    assert_eq!((totals["sent"], totals["received"]), (12_002, 2_000), "{totals:?}");
}

fn a_hundred_peers(engine: &'static str) {
    const FRAMES: u32 = 1_000;
    let name = unique_name("hundred");
    let bus = Member::join(&name);
    let server = server(engine, &name, "");
    let port = server.port();
    let mut peers: Vec<RawPeer> = (0..100).map(|_| RawPeer::greeted(port)).collect();

    let mut expected = Vec::new();
    for number in 0..FRAMES {
        let payload = number.to_be_bytes();
        bus.send(&[format!("123#{number:08X}")]);
        expected.extend(encoded(0x123, payload, Some(number)));
        // At most a window of frames under way.
        if expected.len() == 250 * 18 {
            peers.iter_mut().for_each(|peer| peer.expect(&expected));
            expected.clear();
        }
    }

    // Each sends one frame, which is the next for everybody else.
    let mut numbers = [FRAMES; 100];
    for sender in 0..peers.len() {
        let payload = [0xC0, 0, 0, sender as u8];
        peers[sender].send(&encoded(0x7F0, payload, Some(0)));
        assert_eq!(bus.wait(sender + 1)[sender], format!("7F0#C00000{sender:02X}"));
        for (other, peer) in peers.iter_mut().enumerate().filter(|(other, _)| *other != sender) {
            peer.expect(&encoded(0x7F0, payload, Some(numbers[other])));
            numbers[other] += 1;
        }
    }
    // A frame that had come back to its sender would have come before this one.
    bus.send(&["001#00000001"]);
    assert_eq!(numbers, [1_099; 100]);
    peers.iter_mut().for_each(|peer| peer.expect(&encoded(1, [0, 0, 0, 1], Some(1_099))));

    drop(peers);
    let totals = server.interrupt().totals();
    assert_eq!((totals["sent"], totals["received"]), (110_000, 100), "{totals:?}");
    assert_eq!((totals["kernel_drops"], totals["slow_peer"]), (0, 0), "{totals:?}");
}

fn one_that_does_not_read(engine: &'static str) {
    // 14 bytes each: more than two send buffers of 256 KiB, 64 KiB in the kernel and the peer's own hold.
    const FRAMES: u32 = 60_000;
    let name = unique_name("slow");
    let bus = Member::join(&name);
    // Without a heartbeat nobody ends the connection of a peer that takes nothing.
    let server = server(engine, &name, "--heartbeat 0");
    let port = server.port();
    let mut slow = RawPeer::connect_narrow(port);
    slow.send(&encoded(0x700, [0; 4], None));
    server.wait_error(&format!("{} connected: version 4.0", slow.name()));
    bus.wait_count(1);

    let mut others = [RawPeer::greeted(port), RawPeer::greeted(port)];
    let numbers: Vec<u32> = (0..FRAMES).collect();
    for window in numbers.chunks(500) {
        bus.send(&window.iter().map(|number| format!("123#{number:08X}")).collect::<Vec<_>>());
        let frame = |&number: &u32| encoded(0x123, number.to_be_bytes(), Some(number));
        let expected: Vec<u8> = window.iter().flat_map(frame).collect();
        others.iter_mut().for_each(|peer| peer.expect(&expected));
    }

    let line = server.wait_error("frames dropped: the peer takes them too slowly");
    assert!(line.contains(&format!(" WARN {}: ", slow.name())), "{line}");
    let totals = server.interrupt().totals();
    // Every frame of the bus is in one of the books of each of the three links.
    let books = ["sent", "unsent", "slow_peer", "stale"].map(|name| totals[name]);
    assert_eq!(books.iter().sum::<u64>(), 3 * u64::from(FRAMES), "{totals:?}");
    // What the slow peer did not get is what it was too slow for, or what grew too old meanwhile.
    assert!(totals["sent"] < 2 * u64::from(FRAMES) + 30_000, "{totals:?}");
    assert_eq!(totals["kernel_drops"], 0, "{totals:?}");
}
