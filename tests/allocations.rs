//! Nothing is allocated for a frame: a server and a client, on either engine, count what they allocate while frames cross
//! over software buses, both ways.
//!
//! The bridges are this same executable, started anew with [`CHILD`] in its environment: it then is the program with
//! another allocator, which counts, and tells the count for every line on its standard input.

#[path = "common/program.rs"]
#[expect(dead_code, reason = "the programs are this executable")]
mod program;

#[path = "common/skip.rs"]
mod skip;

#[path = "common/software_bus.rs"]
#[expect(dead_code, reason = "the test hosts its buses itself, and does not look at the frames")]
mod software_bus;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};

use canip_peer::engine::uring::UringEngine;

use program::{Program, unique_name};
use skip::skip;
use software_bus::Member;

/// The environment variable that makes this the bridge.
const CHILD: &str = "CANIP_COUNT_ALLOCATIONS";

/// Frames each way, before the first count and up to the second: everything that grows with use has grown by the first.
const WARM_UP: usize = 20_000;
const MEASURED: usize = 100_000;

/// Allocations that are none of a frame's: what runs once a second (looking for losses), and telling the count itself. A
/// hundredth of a frame's worth, and far more than either takes.
const ALLOWED: u64 = 100;

/// Frames under way at most. The buses drop what a member does not take in time, as real ones do.
const WINDOW: usize = 500;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: everything is done by the system's allocator, as it was asked for.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps what `GlobalAlloc::alloc` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps what `GlobalAlloc::alloc_zeroed` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps what `GlobalAlloc::realloc` asks for.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps what `GlobalAlloc::dealloc` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        std::thread::spawn(tell_counts);
        return canip_peer::cli::main();
    }
    nothing_is_allocated_for_a_frame("epoll");
    match UringEngine::new() {
        Ok(_) => nothing_is_allocated_for_a_frame("uring"),
        Err(error) => skip(&format!("io_uring is not available here: {error}"), None),
    }
    ExitCode::SUCCESS
}

/// Tells how often memory was allocated so far, for every line on standard input.
fn tell_counts() {
    let mut line = String::with_capacity(80);
    while std::io::stdin().read_line(&mut line).unwrap() > 0 {
        line.clear();
        println!("{}", ALLOCATIONS.load(Ordering::Relaxed));
    }
}

fn nothing_is_allocated_for_a_frame(engine: &str) {
    let names = [unique_name("near"), unique_name("far")];
    let [near, far] = names.each_ref().map(|name| Member::join(name));
    let common = format!("--engine {engine} --can-interface software --stats-interval 0 --max-age 30000");
    let server = bridge(&format!("server {common} --can {} --bind 127.0.0.1 --port 0", names[0]));
    let target = format!("--host 127.0.0.1 --port {}", server.port());
    let client = bridge(&format!("client {common} --can {} {target}", names[1]));
    server.wait_error("connected: version 5");
    client.wait_error("connected to ");

    let mut programs = [server, client];
    carry_both_ways(&near, &far, WARM_UP);
    // The first time is the one that sets up standard input and output.
    let _ = programs.each_mut().map(|program| count(program, 1));
    let before = programs.each_mut().map(|program| count(program, 2));
    carry_both_ways(&near, &far, MEASURED);
    let after = programs.each_mut().map(|program| count(program, 3));
    for ((program, before), after) in programs.into_iter().zip(before).zip(after) {
        let totals = program.interrupt().totals();
        let frames = (WARM_UP + MEASURED) as u64;
        assert_eq!((totals["sent"], totals["received"]), (frames, frames), "{totals:?}");
        let new = after - before;
        println!("{engine}: {new} allocations while {MEASURED} frames crossed each way, {before} before");
        assert!(new <= ALLOWED, "{engine}: {new} allocations");
    }
}

fn bridge(arguments: &str) -> Program {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments.split_whitespace()).env(CHILD, "1");
    Program::start(command)
}

/// What a program tells when it is asked for the `asked`th time.
fn count(program: &mut Program, asked: usize) -> u64 {
    program.input.as_mut().unwrap().write_all(b"\n").unwrap();
    program.wait_output(asked)[asked - 1].parse().unwrap()
}

fn carry_both_ways(near: &Member, far: &Member, count: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| carry(near, far, count));
        carry(far, near, count);
    });
}

fn carry(from: &Member, to: &Member, count: usize) {
    let before = to.count();
    let frames = vec!["18DAF110#1122334455667788"; WINDOW];
    for window in 1..=count / WINDOW {
        from.send(&frames);
        to.wait_count(before + window * WINDOW);
    }
}
