//! A version 5 link that is cut for three seconds under 4,000 frames a second: afterwards both ends agree to the frame
//! on what was lost, by cause, and nothing that is too old has come out.
//!
//! ```text
//!   load, meter ── bus ── server ==TCP== relay ==TCP== client ── bus ── load, meter
//! ```

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::books::assert_books;
use crate::load::{self, Load, Meter, Reading, TooOld};
use crate::program::{Finished, PATIENCE, Program, unique_name};
use crate::relay::Relay;
use crate::software_bus::Member;

on_each_engine!(
    reset_under_load_one_way,
    reset_under_load_both_ways,
    silent_under_load_both_ways,
    stalled_under_load_both_ways,
);

/// Frames a second of each load.
pub const RATE: u32 = 4_000;

/// How long the link is cut.
pub const CUT: Duration = Duration::from_secs(3);

/// The age that frames may have when they are put on a bus, and what the check leaves to the buses and to a machine with
/// more to do than it can. What waited for the link to come back would be older by far.
const MAX_AGE: Duration = Duration::from_millis(250);
const ALLOWANCE: Duration = Duration::from_millis(750);

const THERE: u16 = 0x100;
const BACK: u16 = 0x200;

/// A server and a client with a relay between them, a load at one end or both, and a meter for each.
pub struct Scene {
    pub relay: Relay,
    pub server: Program,
    pub client: Program,
    pub client_bus: String,
    pub server_bus: String,
    there: (Load, Meter),
    back: Option<(Load, Meter)>,
    /// Hosts the client's bus where no load comes from there.
    _idle: Option<Member>,
}

impl Scene {
    pub fn start(engine: &str, server_options: &str, client_options: &str, both_ways: bool) -> Scene {
        let (server_bus, client_bus) = (unique_name("near"), unique_name("far"));
        // Whoever joins first hosts the bus, and is to outlive the bridge.
        let (near, far) = (Member::join(&server_bus), Member::join(&client_bus));
        let meters = (Meter::join(&client_bus, THERE), Meter::join(&server_bus, BACK));
        let common = format!("--engine {engine} --can-interface software");
        let server = Program::bridge(&format!(
            "server {common} --can {server_bus} --bind 127.0.0.1 --port 0 {server_options}"
        ));
        let relay = Relay::to(server.port());
        let target = format!("--host 127.0.0.1 --port {}", relay.port());
        let client =
            Program::bridge(&format!("client {common} --can {client_bus} {target} {client_options}"));
        client.wait_error("connected to 127.0.0.1:");
        server.wait_error("connected: version 5");
        let there = (Load::start(near, THERE, RATE), meters.0);
        let (back, idle) = match both_ways {
            true => (Some((Load::start(far, BACK, RATE), meters.1)), None),
            false => (None, Some(far)),
        };
        Scene { relay, server, client, client_bus, server_bus, there, back, _idle: idle }
    }

    fn directions(&self) -> impl Iterator<Item = &(Load, Meter)> {
        std::iter::once(&self.there).chain(&self.back)
    }

    /// Waits until so many more frames have come out at each end.
    pub fn wait_frames(&self, count: u32) {
        for (_, meter) in self.directions() {
            meter.wait_for(meter.last().map_or(0, |last| last + 1) + count);
        }
    }

    /// Ends the loads, waits for their last frames, ends both programs and asserts that their books agree.
    pub fn end(self) -> (Finished, Finished) {
        let (server, client, [there, back]) = self.finish();
        let (at_server, at_client) = (server.totals(), client.totals());
        if let Some((sent, reading)) = there {
            assert_books(sent, &at_server, &at_client, reading.count);
        }
        if let Some((sent, reading)) = back {
            assert_books(sent, &at_client, &at_server, reading.count);
        }
        (server, client)
    }

    /// The same without a look at the books: server, client, and how many frames were sent and what came out, each way.
    /// Frames are in order and of age.
    pub fn finish(self) -> (Finished, Finished, [Option<(u64, Reading)>; 2]) {
        let Scene { relay, server, client, there, back, .. } = self;
        // The members stay, who may host the buses.
        let directions = [Some(there), back].map(|direction| {
            direction.map(|(load, meter)| {
                let (sent, member) = load.stop();
                let last = send_until_seen(&member, &meter, sent);
                (u64::from(last), meter, member)
            })
        });
        let client = client.interrupt();
        server.wait_error("disconnected, closed by the peer");
        let server = server.interrupt();
        drop(relay);
        let readings = directions.map(|direction| direction.map(|(sent, meter, _)| (sent, meter.read())));
        assert_age(&readings, &server, &client);
        (server, client, readings)
    }
}

/// Asserts that nothing too old has come out, but for what a process was just writing when it was stopped: that has been
/// noticed at one end or the other, and was sent within the time that frames live, as nothing older is ever written. Too old is
/// what certainly is: an age told from clocks that are compared within so much may be wrong by twice as much.
fn assert_age(readings: &[Option<(u64, Reading)>; 2], server: &Finished, client: &Finished) {
    let uncertainty = clock_uncertainty(server).max(clock_uncertainty(client));
    let allowed = MAX_AGE + ALLOWANCE + 2 * uncertainty;
    let too_old = readings
        .each_ref()
        .map(|reading| reading.as_ref().and_then(|(_, reading)| reading.older_than(allowed)));
    let count: u64 = too_old.iter().flatten().map(|frames| frames.count).sum();
    let overdue = server.totals()["overdue"] + client.totals()["overdue"];
    let is_one_call = |frames: &TooOld| frames.sent_within <= MAX_AGE + ALLOWANCE;
    // The totals tell how late frames were by the bridge's own clocks, and how far it trusts them.
    assert!(
        count <= overdue && too_old.iter().flatten().all(is_one_call),
        "to the client, to the server: {too_old:#?}: {:#?}",
        [server, client].map(|program| program.errors.last())
    );
}

/// How wrong the program took its comparison of the clocks to be at the worst, either way, as its totals tell: no more than half of
/// the longest round trip of its heartbeats, which a peer makes seconds that stands still before the first one is answered.
fn clock_uncertainty(program: &Finished) -> Duration {
    // What clocks may drift apart in the seconds of a test, twice over.
    const DRIFT: Duration = Duration::from_millis(20);
    let line = program.errors.last().map_or("", String::as_str);
    let told = |name: &str| line.split_whitespace().skip_while(|word| *word != name).nth(1);
    let time = |text: &str| Duration::from_secs_f64(text.parse::<f64>().unwrap() / 1e6);
    let Some((_, uncertainty)) = told("one_way_us").and_then(|values| values.split_once('±')) else {
        return Duration::ZERO;
    };
    let (_, longest) = told("round_trip_us").unwrap().rsplit_once('/').unwrap();
    assert!(time(uncertainty) <= time(longest) / 2 + DRIFT, "{line}");
    time(uncertainty)
}

/// The last frame of a load may be one that is too old: what says that all have come is one behind them. Returns how many
/// frames were sent, these included.
fn send_until_seen(member: &Member, meter: &Meter, sent: u32) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    let mut last = sent;
    while meter.last().is_none_or(|number| number < sent) {
        assert!(Instant::now() < deadline, "nothing comes out behind {sent} frames");
        member.send(&[load::frame(meter.identifier(), last)]);
        last += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    meter.wait_for(last - 1);
    last
}

/// Asserts what a program said of one outage that cost `missing` frames of its peer.
fn assert_said(finished: &Finished, bus: &str, totals: &HashMap<String, u64>) {
    let text = format!("frames for {bus} were lost before the connection was back: ");
    let lines: Vec<&String> = finished.errors.iter().filter(|line| line.contains(&text)).collect();
    let [line] = lines[..] else { panic!("{lines:#?}") };
    let (_, causes) = line.split_once(&text).unwrap();
    let wanted = format!("{} while there was none", totals["peer_outage"]);
    assert!(causes.starts_with(&wanted), "{line}: expected {wanted}");
    let in_transit = totals["peer_in_transit"];
    let wanted = format!("{in_transit} under way when it broke");
    assert_eq!(causes.contains(&wanted), in_transit > 0, "{line}: {totals:?}");
}

fn reset_under_load_one_way(engine: &'static str) {
    reset_under_load(engine, false);
}

fn reset_under_load_both_ways(engine: &'static str) {
    reset_under_load(engine, true);
}

fn reset_under_load(engine: &'static str, both_ways: bool) {
    let scene = Scene::start(engine, "", "", both_ways);
    scene.wait_frames(RATE / 2);
    scene.relay.refuse();
    std::thread::sleep(CUT);
    scene.relay.restore();
    scene.server.wait_errors("connected: version 5", 2);
    scene.wait_frames(RATE / 2);
    let (server_bus, client_bus) = (scene.server_bus.clone(), scene.client_bus.clone());
    let (server, client) = scene.end();
    let (at_server, at_client) = (server.totals(), client.totals());
    let least = u64::from(RATE) * CUT.as_secs() / 2;
    assert!(at_client["peer_outage"] > least, "{at_client:?}");
    assert_said(&client, &client_bus, &at_client);
    if both_ways {
        assert!(at_server["peer_outage"] > least, "{at_server:?}");
        assert_said(&server, &server_bus, &at_server);
    }
}

/// Nothing comes through any more, and nobody says so: both sides find out by their heartbeats, the client first or the
/// server. (A server that speaks version 4.0 too takes the client's attempts, of which it hears nothing, for silent
/// clients of that version.)
fn silent_under_load_both_ways(engine: &'static str) {
    let scene = Scene::start(engine, "--heartbeat 0.3 --protocol 5", "--heartbeat 0.3", true);
    scene.wait_frames(RATE / 2);
    scene.relay.swallow();
    std::thread::sleep(CUT);
    scene.relay.restore();
    scene.server.wait_errors("connected: version 5", 2);
    scene.wait_frames(RATE / 2);
    scene.end();
}

/// Nothing is lost under way, and nothing comes in time.
fn stalled_under_load_both_ways(engine: &'static str) {
    let scene = Scene::start(engine, "--heartbeat 30", "--heartbeat 30", true);
    scene.wait_frames(RATE / 2);
    scene.relay.hold();
    std::thread::sleep(CUT);
    scene.relay.restore();
    scene.wait_frames(RATE / 2);
    let (server, client) = scene.end();
    for totals in [server.totals(), client.totals()] {
        assert_eq!((totals["in_transit"], totals["outage"]), (0, 0), "{totals:?}");
        assert!(totals["stale"] + totals["slow_peer"] > u64::from(RATE), "{totals:?}");
    }
}
