//! What may happen to the network between two hosts, which are network namespaces here.
//!
//! ```text
//!   load, meter ── vxcan ──║── server ── veth ──║── client ── vcan ── load, meter
//!                          ║     namespace      ║
//! ```

use std::time::{Duration, Instant};

use canip_peer::bus::BusKind;

use crate::can::{Made, can_available, command, ip};
use crate::program::unique_name;
use crate::scene::{Options, RATE, Scene, trials};
use crate::traffic::{Place, now_us};

/// How long the hosts cannot reach each other, which is what is tested: longer than three heartbeats.
const PARTITION: Duration = Duration::from_secs(2);

/// How soon frames must cross again when packets do: an attempt to connect that began before may have to end, which takes 5 s.
const AFTER_PARTITION: Duration = Duration::from_secs(6);

/// The queue goes with what is in it, which TCP sends again after a time that it has learnt on the slow network.
const AFTER_SLOWNESS: Duration = Duration::from_secs(3);

struct Hosts {
    host: String,
    veth: String,
    _namespace: Made,
}

impl Hosts {
    const ADDRESS: &str = "192.0.2.2";

    fn new() -> Hosts {
        let (host, veth) = (unique_name("h"), unique_name("e"));
        let namespace = Made::namespace(&host);
        ip(&format!("link add {veth} type veth peer name {veth} netns {host}"));
        ip(&format!("addr add 192.0.2.1/24 dev {veth}"));
        ip(&format!("link set {veth} up"));
        ip(&format!("-n {host} addr add {}/24 dev {veth}", Hosts::ADDRESS));
        ip(&format!("-n {host} link set {veth} up"));
        Hosts { host, veth, _namespace: namespace }
    }

    /// What becomes of packets, either way, in netem's words; nothing for a network that works.
    fn network(&self, netem: &str) {
        for under in [String::new(), format!("ip netns exec {} ", self.host)] {
            let line = match netem {
                "" => format!("{under}tc qdisc delete dev {} root", self.veth),
                _ => format!("{under}tc qdisc replace dev {} root netem {netem}", self.veth),
            };
            command(&line).unwrap();
        }
    }

    /// A bridge between the hosts, and the bus of ours.
    fn scene(&self) -> (Scene, Made) {
        // The same name on both sides: the test's end, and the server's.
        let near = unique_name("x");
        ip(&format!("link add {near} type vxcan peer name {near} netns {}", self.host));
        ip(&format!("link set {near} up"));
        ip(&format!("-n {} link set {near} up", self.host));
        let far = unique_name("v");
        let made = Made::vcan(&far, 72);
        let [near, far] = [near, far].map(|name| Place { kind: BusKind::SocketCan, name });
        let arguments = "--heartbeat 0.5".to_owned();
        let server = Options { under: format!("ip netns exec {}", self.host), arguments: arguments.clone() };
        let client = Options { arguments, ..Options::default() };
        (Scene::at(Hosts::ADDRESS, near, far, server, client, RATE), made)
    }
}

#[test]
fn delay_jitter_loss_and_partition() {
    let Some(_lab) = can_available() else { return };
    let hosts = Hosts::new();
    let (mut scene, _far) = hosts.scene();
    for trial in 1..=trials() as usize {
        hosts.network("delay 30ms 10ms loss 2%");
        scene.flows.iter().for_each(|flow| flow.meter.wait_more(RATE as usize / 2));
        hosts.network("loss 100%");
        std::thread::sleep(PARTITION);
        let mended = now_us();
        hosts.network("");
        scene.client.wait_errors("connected to ", trial + 1);
        scene.recover(mended);
        scene.run_a_while();
    }
    scene.allow_recovery(AFTER_PARTITION);
    scene.finish().balance("network-partition");
}

/// A network that carries less than half of what is sent, behind a queue of many seconds: what comes out is in time, and it is much
/// of what the network can carry, which is 500 frames a second without any header.
#[test]
fn slower_than_the_load() {
    let Some(_lab) = can_available() else { return };
    let hosts = Hosts::new();
    let (mut scene, _far) = hosts.scene();
    for _ in 0..trials() {
        hosts.network("delay 20ms rate 100kbit limit 1000");
        let started = Instant::now();
        let wanted = scene.flows.each_ref().map(|flow| flow.meter.count() + RATE as usize);
        for (flow, wanted) in scene.flows.iter().zip(wanted) {
            flow.meter.wait_more(wanted.saturating_sub(flow.meter.count()));
        }
        // The first seconds for what was sent before the bridge knew how slow the network is, which is too old.
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_secs(40), "{RATE} frames took {elapsed:?}");
        let mended = now_us();
        hosts.network("");
        scene.recover(mended);
        scene.run_a_while();
    }
    scene.allow_recovery(AFTER_SLOWNESS);
    scene.finish().balance("network-slower-than-the-load");
}
