//! Queues that are full: a bus that takes less than comes, a controller's ten frames, and a client that stops reading.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use canip_peer::bus::BusKind;
use socket2::{Domain, Socket, Type};

use crate::can::{Made, can_available, command, controllers_available};
use crate::program::unique_name;
use crate::scene::{Options, RATE, Scene, software};
use crate::traffic::{Place, now_us};

/// Frames that wait for a bus which takes 500 a second, shared with a sender that keeps its queue full.
#[test]
fn paced_queue_overflows() {
    let Some(_lab) = can_available() else { return };
    let names = [unique_name("v"), unique_name("v")];
    let _made = names.each_ref().map(|name| Made::vcan(name, 72));
    let [near, far] = names.map(|name| Place { kind: BusKind::SocketCan, name });
    let mut scene = Scene::start(near, far, Options::default(), Options::default());
    let name = scene.far.name.clone();
    // 16 bytes a frame. Ten of them wait, as before a controller.
    command(&format!("tc qdisc replace dev {name} root handle 1: tbf rate 64kbit burst 72 limit 4000"))
        .unwrap();
    command(&format!("tc qdisc replace dev {name} parent 1: handle 2: pfifo limit 10")).unwrap();
    for _ in 0..4 {
        scene.flows[0].meter.wait_more(RATE as usize / 16);
        scene.recover(now_us());
    }
    let account = scene.finish();
    let client = account.client.totals();
    assert!(client["transmit_waits"] > 0 && client["stale"] > 0, "{client:?}");
    account.balance("paced-queue");
}

/// A controller with a queue of ten frames.
#[test]
fn ten_frames_before_a_controller() {
    let Some(_lab) = controllers_available() else { return };
    let name = unique_name("v");
    let _made = [Made::vcan(&name, 16), Made::controller("can0"), Made::controller("can1")];
    command("ip link set can0 txqueuelen 10").unwrap();
    let [near, far] = [name, "can0".to_owned()].map(|name| Place { kind: BusKind::SocketCan, name });
    let mut scene = Scene::start(near, far, Options::default(), Options::default());
    for _ in 0..4 {
        scene.run_a_while();
        scene.recover(now_us());
    }
    scene.finish().balance("controller-queue");
}

/// A client that reads nothing keeps nobody else from anything.
#[test]
fn a_slow_reader_is_alone_with_it() {
    let mut scene = Scene::start(software("near"), software("far"), Options::default(), Options::default());
    let slow = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // So that what it does not read does not lie in the kernel.
    slow.set_recv_buffer_size(4_096).unwrap();
    slow.connect(&SocketAddr::from(([127, 0, 0, 1], scene.port)).into()).unwrap();
    let mut slow = TcpStream::from(slow);
    slow.write_all(b"CANIP/4.1 FEAT=SEQ\n").unwrap();
    let mut byte = [0];
    while byte != *b"\n" {
        slow.read_exact(&mut byte).unwrap();
    }
    scene.server.wait_error("connected: version 4.1");
    for _ in 0..6 {
        scene.run_a_while();
        scene.recover(now_us());
    }
    drop(slow);
    scene.finish().balance_client("slow-reader");
}
