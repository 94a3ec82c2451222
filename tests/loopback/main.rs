//! The bridge on software buses over the loopback interface: the built program, on either engine, without rights and
//! without CAN.
//!
//! At the ends hang members of the buses in the test's own process, and where it is simpler than a second bridge,
//! peers that are a TCP stream and bytes. Every wait is for a condition.

#[path = "../common/books.rs"]
mod books;

#[path = "../common/every_kind.rs"]
mod every_kind;

#[path = "../common/full_device.rs"]
mod full_device;

#[path = "../common/loops.rs"]
mod common_loops;

#[path = "../common/noise.rs"]
mod common_noise;

#[path = "../common/program.rs"]
#[expect(dead_code, reason = "no test here reads standard output")]
mod program;

#[path = "../common/raw_peer.rs"]
mod raw_peer;

#[path = "../common/skip.rs"]
mod skip;

#[path = "../common/software_bus.rs"]
mod software_bus;

#[path = "../common/text_file.rs"]
mod text_file;

/// Tests that run once on each engine, so that a failure names it.
macro_rules! on_each_engine {
    ($($test:ident),+ $(,)?) => {
        mod uring {
            $(#[test] fn $test() { crate::run_on("uring", super::$test); })+
        }
        mod epoll {
            $(#[test] fn $test() { crate::run_on("epoll", super::$test); })+
        }
    };
}

mod addresses;
mod admission;
mod alive;
mod batching;
mod bounds;
mod buses;
mod clients;
mod crossing;
mod cut;
mod ending;
mod filtering;
mod histograms;
mod kinds;
mod load;
mod loops;
mod misbehaviour;
mod noise;
mod outage;
mod parallel;
mod recording;
mod relay;
mod same_bus;
mod stopped;
mod undisturbed;

use canip_peer::engine::uring::UringEngine;

use program::{Program, unique_name};
use skip::skip;
use software_bus::Member;

/// Runs a test, or says that it does not.
fn run_on(engine: &'static str, test: fn(&'static str)) {
    if engine == "uring"
        && let Err(error) = UringEngine::new()
    {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        skip(&format!("{name}: io_uring is not available here: {error}"), None);
        return;
    }
    test(engine);
}

/// These tests count frames, not time: on a machine with more to do than it can, a frame may wait.
const UNHURRIED: &str = "--max-age 30000";

/// A server on 127.0.0.1 and a port that the kernel chooses.
fn server(engine: &str, bus: &str, options: &str) -> Program {
    let arguments = format!("--can-interface software --can {bus} --bind 127.0.0.1 --port 0 {options}");
    Program::bridge(&format!("server --engine {engine} {UNHURRIED} {arguments}"))
}

/// A client of a server on 127.0.0.1.
fn client(engine: &str, bus: &str, port: u16, options: &str) -> Program {
    let arguments = format!("--can-interface software --can {bus} --host 127.0.0.1 --port {port} {options}");
    Program::bridge(&format!("client --engine {engine} {UNHURRIED} {arguments}"))
}

/// A server and a client that are connected, each with a bus and something that hangs on it.
struct Pair {
    near: Member,
    near_name: String,
    server: Program,
    port: u16,
    client: Program,
    far: Member,
    far_name: String,
}

impl Pair {
    fn start(engine: &str, server_options: &str, client_options: &str) -> Pair {
        let (near_name, far_name) = (unique_name("near"), unique_name("far"));
        let (near, far) = (Member::join(&near_name), Member::join(&far_name));
        let server = server(engine, &near_name, server_options);
        let port = server.port();
        let client = client(engine, &far_name, port, client_options);
        client.wait_error("connected to 127.0.0.1:");
        server.wait_error("connected: version 5");
        Pair { near, near_name, server, port, client, far, far_name }
    }
}

/// Numbered data frames, told apart from others by their first payload byte: standard identifiers, extended ones and
/// all lengths from 5 to 8.
fn numbered(direction: u8, count: u32) -> Vec<String> {
    let frame = |index: u32| {
        let extra = "A1B2C3".split_at((index as usize % 4) * 2).0;
        match index % 3 {
            0 => format!("{:08X}#{direction:02X}{index:08X}{extra}", (index * 7919) & 0x1FFF_FFFF),
            _ => format!("{:03X}#{direction:02X}{index:08X}{extra}", index & 0x7FF),
        }
    };
    (0..count).map(frame).collect()
}

/// Frames under way at most. The buses drop what a member does not take in time, as real ones do.
const WINDOW: usize = 500;

/// Sends frames from one end, and waits for them, and nothing else, at the others.
fn carry(from: &Member, to: &[&Member], frames: &[String]) {
    let before: Vec<usize> = to.iter().map(|member| member.count()).collect();
    let mut carried = 0;
    for window in frames.chunks(WINDOW) {
        from.send(window);
        carried += window.len();
        to.iter().zip(&before).for_each(|(member, before)| member.wait_count(before + carried));
    }
    for (member, before) in to.iter().zip(before) {
        let received = &member.wait(before + frames.len())[before..];
        if let Some(at) = received.iter().zip(frames).position(|(received, sent)| received != sent) {
            panic!("frame {at} is {:?}, expected {:?}", received[at], frames[at]);
        }
        assert_eq!(received.len(), frames.len());
    }
}
