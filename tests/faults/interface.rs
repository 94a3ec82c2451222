//! What may happen to an interface: both ends say it, and frames cross again by themselves.

use std::io::Write;
use std::process::{Command, Stdio};

use canip_peer::bus::BusKind;

use crate::can::{Made, can_available, eventually, ip};
use crate::program::{Program, unique_name};
use crate::scene::{Options, RATE, Scene, trials};
use crate::traffic::{Place, now_us};

const CLASSIC: u32 = 16;
const FD: u32 = 72;

/// Frames that the kernel may swallow each time that an interface goes down: a quarter of a second of them. It takes the
/// device out of service, waits for all processors (`synchronize_net`), and only then clears the flag by which a sender is told
/// (`__dev_close_many`, Linux 6.12); emulated processors keep it waiting for a tenth of a second.
pub const SWALLOWED: u64 = RATE as u64 / 4;

/// Two interfaces, and what takes them away.
fn two_interfaces() -> ([Place; 2], [Made; 2]) {
    let names = [unique_name("v"), unique_name("v")];
    let made = names.each_ref().map(|name| Made::vcan(name, FD));
    (names.map(|name| Place { kind: BusKind::SocketCan, name }), made)
}

#[test]
fn down_and_up_under_load() {
    let Some(_lab) = can_available() else { return };
    let ([near, far], _made) = two_interfaces();
    let mut scene = Scene::start(near, far, Options::default(), Options::default());
    for trial in 1..=trials() as usize {
        for (name, side, other) in [
            (scene.near.name.clone(), &scene.server, &scene.client),
            (scene.far.name.clone(), &scene.client, &scene.server),
        ] {
            ip(&format!("link set {name} down"));
            side.wait_errors(&format!("WARN interface {name} is down: "), trial);
            other.wait_errors(&format!(": its {name} is down"), trial);
        }
        let (near, far) = (scene.near.name.clone(), scene.far.name.clone());
        let up = now_us();
        ip(&format!("link set {near} up"));
        ip(&format!("link set {far} up"));
        scene.recover(up);
        scene.server.wait_errors(&format!("interface {near} is up: frames cross again"), trial);
        scene.client.wait_errors(&format!(": its {near} is up"), trial);
        scene.client.wait_errors(&format!("interface {far} is up: frames cross again"), trial);
        scene.server.wait_errors(&format!(": its {far} is up"), trial);
        scene.run_a_while();
    }
    scene.finish().balance_but("interface-down-up", SWALLOWED * u64::from(trials()));
}

#[test]
fn deleted_and_made_anew_under_load() {
    let Some(_lab) = can_available() else { return };
    let ([near, far], _made) = two_interfaces();
    let mut scene = Scene::start(near, far, Options::default(), Options::default());
    for trial in 1..=trials() as usize {
        for flow in 0..2 {
            let name = [&scene.near, &scene.far][flow].name.clone();
            let (side, other) =
                if flow == 0 { (&scene.server, &scene.client) } else { (&scene.client, &scene.server) };
            ip(&format!("link delete {name}"));
            side.wait_errors(&format!("WARN interface {name} is gone: "), trial);
            other.wait_errors(&format!(": its {name} is missing"), trial);
            scene.begin_deaf(flow);
            ip(&format!("link add dev {name} mtu {FD} type vcan"));
            scene.flows[flow].load.reopen();
            scene.flows[1 - flow].meter.reopen();
            let up = now_us();
            ip(&format!("link set {name} up"));
            scene.recover(up);
            let (side, other) =
                if flow == 0 { (&scene.server, &scene.client) } else { (&scene.client, &scene.server) };
            side.wait_errors(&format!("interface {name} was made anew and is up: frames cross again"), trial);
            other.wait_errors(&format!(": its {name} is up"), trial);
            scene.run_a_while();
        }
    }
    scene.finish().balance_but("interface-made-anew", SWALLOWED * u64::from(trials()));
}

#[test]
fn classic_and_fd_in_turns_under_load() {
    let Some(_lab) = can_available() else { return };
    let ([near, far], _made) = two_interfaces();
    let mut scene = Scene::start(near, far, Options::default(), Options::default());
    let name = scene.near.name.clone();
    for trial in 1..=trials() as usize {
        for (mtu, said, told) in [
            (CLASSIC, ", without CAN FD now: FD frames are refused", "is up"),
            (FD, ", with CAN FD now", "is up, CAN FD"),
        ] {
            ip(&format!("link set {name} down"));
            ip(&format!("link set {name} mtu {mtu}"));
            let up = now_us();
            ip(&format!("link set {name} up"));
            scene.recover(up);
            scene.server.wait_errors(&format!("frames cross again{said}"), trial);
            scene.client.wait_errors(&format!(": its {name} {told}"), trial);
        }
    }
    scene.finish().balance_but("mtu-switched", SWALLOWED * 2 * u64::from(trials()));
}

/// What is told of interfaces is taken from the socket that tells it: a full one tells of nothing any more.
#[test]
fn changes_are_noticed_after_hundreds_of_them() {
    const CHANGES: usize = 200;
    let Some(_lab) = can_available() else { return };
    let name = unique_name("v");
    let _made = Made::vcan(&name, FD);
    let server = Program::bridge(&format!("server --can {name} --port 0"));
    server.wait_error("listening on ");
    let other = unique_name("w");
    let mut batch = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = batch.stdin.take().unwrap();
    for _ in 0..CHANGES {
        write!(input, "link add dev {other} type vcan\nlink delete {other}\n").unwrap();
    }
    drop(input);
    assert!(batch.wait().unwrap().success());
    eventually("the bridge to take what it was told", || waiting_bytes(server.child.id()) == 0);
    ip(&format!("link set {name} down"));
    server.wait_error(&format!("WARN interface {name} is down: "));
}

/// Bytes that wait in a process's route netlink socket: the first such socket of a process has its number.
fn waiting_bytes(process: u32) -> u64 {
    let table = std::fs::read_to_string("/proc/net/netlink").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode; Eth 0 is NETLINK_ROUTE, group 1 RTMGRP_LINK.
    let own = lines.filter(|words| words[1] == "0" && words[3] == "00000001");
    let of_process = own.filter(|words| words[2] == process.to_string()).collect::<Vec<_>>();
    let [line] = &of_process[..] else { panic!("no socket of {process} among {table}") };
    line[4].parse().unwrap()
}
