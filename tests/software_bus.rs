//! The software bus between processes: `send`, `dump`, and a host that is killed.

#[expect(dead_code, reason = "the rest is for bridges")]
#[path = "common/program.rs"]
mod program;

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use canip_peer::bus::send;
use canip_peer::bus::software::{self, Membership};
use canip_peer::frame::notation::parse_compact;
use program::{Finished, Program, unique_name};

/// A frame that tells whether somebody listens. It is sent again and again, as a process cannot see who has joined.
const PROBE: &str = "7FF#00";

fn canip_peer(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canip_peer"));
    command.args(arguments);
    Program::start(command)
}

fn dump(arguments: &[&str]) -> Program {
    canip_peer(&[&["dump", "--can-interface", "software", "-L"], arguments].concat())
}

fn send_frames(bus: &str, frames: &[&str]) -> Finished {
    canip_peer(&[&["send", "--can-interface", "software", bus], frames].concat()).finish()
}

/// Sends probes until the program has printed `count` lines. Gives how many it has sent.
fn probe(member: &Membership, dump: &Program, count: usize) -> usize {
    let done = AtomicBool::new(false);
    let probe = parse_compact(PROBE).unwrap();
    std::thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                send(member.as_fd(), probe.image().as_bytes()).unwrap();
                sent += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            sent
        });
        dump.wait_output(count);
        done.store(true, Ordering::Relaxed);
        prober.join().unwrap()
    })
}

/// The frames that were printed, without the probes.
fn frames(lines: &[String]) -> Vec<&str> {
    let frames = lines.iter().map(|line| line.rsplit(' ').next().unwrap());
    frames.filter(|frame| *frame != PROBE).collect()
}

#[test]
fn dump_prints_what_send_sends_and_its_filter_passes() {
    let bus = unique_name("sw");
    let member = software::join(&bus, None).unwrap();
    let everything = dump(&[&bus]);
    let filtered = dump(&[&format!("{bus},7FF:7FF,123:7FF")]);
    probe(&member, &everything, 1);
    probe(&member, &filtered, 1);
    let sent = ["456#R3", "123#DEADBEEF", "1F334455#1122", "123##3112233"];
    let finished = send_frames(&bus, &sent);
    assert_eq!(finished.status.code(), Some(0), "{:?}", finished.errors);
    // The hub has them, and ends only when it has handed them over; the printers then find each other again.
    drop(member);
    for (program, expected) in [(everything, &sent[..]), (filtered, &["123#DEADBEEF", "123##3112233"][..])] {
        let mut lines = 0;
        while !program.wait_output(lines).last().is_some_and(|line| line.ends_with("123##3112233")) {
            lines += 1;
        }
        let finished = program.interrupt();
        assert_eq!(finished.status.code(), Some(0), "{:?}", finished.errors);
        assert_eq!(frames(&finished.output), expected);
    }
}

#[test]
fn send_says_that_nobody_listens() {
    let bus = unique_name("sw");
    let alone = send_frames(&bus, &["123#11"]);
    assert_eq!(alone.status.code(), Some(0), "{:?}", alone.errors);
    assert_eq!(alone.errors, [format!("canip_peer send: nobody else is on software bus {bus}")]);
    let _member = software::join(&bus, None).unwrap();
    let heard = send_frames(&bus, &["123#11"]);
    assert_eq!((heard.status.code(), heard.errors), (Some(0), Vec::new()));
}

#[test]
fn dump_goes_on_when_the_host_is_killed() {
    let bus = unique_name("sw");
    let host = dump(&[&bus]);
    // Whoever of us came first: when this process leaves, the other hosts.
    let member = loop {
        let member = software::join(&bus, None).unwrap();
        if !member.hosts() {
            break member;
        }
    };
    let watcher = dump(&[&bus]);
    let sent = probe(&member, &watcher, 1);
    drop(host);
    // More lines than probes were sent before: a probe that crossed the new host.
    let member = software::join(&bus, None).unwrap();
    probe(&member, &watcher, sent + 1);
    let finished = watcher.interrupt();
    assert_eq!(finished.status.code(), Some(0), "{:?}", finished.errors);
}
