//! `--linger-us` and `--batch-frames`: fewer and bigger batches for a bounded wait; without them nothing waits.

use std::time::{Duration, Instant};

use crate::load::{Load, Meter};
use crate::program::{Finished, Program, unique_name};
use crate::software_bus::Member;

on_each_engine!(frames_linger_for_a_batch, nothing_lingers_unless_told, one_frame_lingers_no_longer);

/// A frame each millisecond, as far as the machine keeps up.
const RATE: u32 = 1_000;
const FRAMES: u32 = 1_500;

/// What is left to a machine that has more to do than it can.
const ALLOWANCE: Duration = Duration::from_millis(500);

struct Scene {
    server: Program,
    near: Member,
    meter: Meter,
    client: Program,
    far: Member,
}

fn start(engine: &str, options: &str, client_options: &str) -> Scene {
    let names = [unique_name("near"), unique_name("far")];
    let [near, far] = names.each_ref().map(|name| Member::join(name));
    let meter = Meter::join(&names[1], 0x100);
    let server = crate::server(engine, &names[0], options);
    let client = crate::client(engine, &names[1], server.port(), client_options);
    server.wait_error("connected: version 5");
    client.wait_error("connected to ");
    Scene { server, near, meter, client, far }
}

/// p50, p99, p99.9 and the maximum of the frames in a batch.
fn batches(finished: &Finished) -> [u64; 4] {
    let total = finished.errors.iter().rev().find(|line| line.contains(" total: ")).unwrap();
    let (_, rest) = total.split_once(" batch_out_frames ").unwrap();
    let values = rest.split(' ').next().unwrap().split('/');
    values.map(|value| value.parse().unwrap()).collect::<Vec<u64>>().try_into().unwrap()
}

/// Puts a load on a link with these options; the batches, and the median age: single frames are old wherever a process waits
/// for its turn.
fn under_load(engine: &str, options: &str) -> ([u64; 4], Duration) {
    let Scene { server, near, meter, client, far } = start(engine, options, "");
    let load = Load::start(near, 0x100, RATE);
    meter.wait_for(FRAMES);
    let (sent, _near) = load.stop();
    meter.wait_for(sent - 1);
    let reading = meter.read();
    assert_eq!(reading.count, u64::from(sent));
    assert_eq!(client.interrupt().totals()["received"], u64::from(sent));
    drop(far);
    (batches(&server.interrupt()), reading.median_age())
}

fn frames_linger_for_a_batch(engine: &'static str) {
    // Eight come within the 20 ms that they may wait: that is when they are sent.
    let (batches, age) = under_load(engine, "--linger-us 20000 --batch-frames 8");
    assert!(batches[0] >= 8, "{batches:?}");
    assert!(age < Duration::from_millis(20) + ALLOWANCE, "{age:?}");
}

fn nothing_lingers_unless_told(engine: &'static str) {
    let (batches, age) = under_load(engine, "");
    assert!(batches[0] < 8, "{batches:?}");
    assert!(age < ALLOWANCE, "{age:?}");
}

/// A batch that does not fill goes when its first frame has waited long enough, and not before. (A heartbeat would take it
/// along.)
fn one_frame_lingers_no_longer(engine: &'static str) {
    const LINGER: Duration = Duration::from_millis(400);
    let scene = start(engine, "--linger-us 400000 --batch-frames 8 --heartbeat 0", "--heartbeat 0");
    let start = Instant::now();
    scene.near.send(&[crate::load::frame(0x100, 0)]);
    scene.meter.wait_for(0);
    let taken = start.elapsed();
    assert!(taken >= LINGER && taken < LINGER + ALLOWANCE, "{taken:?}");
}
