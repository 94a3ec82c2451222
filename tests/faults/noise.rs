//! Two hundred connections that are no peers, while the bus is busy.

use std::io::Write;
use std::net::TcpStream;

use canip_peer::bus::BusKind;

use crate::can::{Made, can_available};
use crate::common_noise::{NOISE, noise};
use crate::program::unique_name;
use crate::scene::{Options, RATE, Scene, trials};
use crate::traffic::{Place, now_us};

/// Every kind of noise at once, bytes that trickle, and the end of it all: the client notices nothing.
#[test]
fn noise_under_load() {
    let Some(_lab) = can_available() else { return };
    let names = [unique_name("v"), unique_name("v")];
    let _made = names.each_ref().map(|name| Made::vcan(name, 72));
    let [near, far] = names.map(|name| Place { kind: BusKind::SocketCan, name });
    // To a server of version 4.0 garbage is frames.
    let options = Options { arguments: "--protocol 5".to_owned(), ..Options::default() };
    // Leaves the lab's emulated processors time for the noise.
    let rate = RATE / 4;
    let mut scene = Scene::at("127.0.0.1", near, far, options.clone(), options, rate);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..trials() {
        let began = now_us();
        let noise: Vec<TcpStream> = (0..NOISE).map(|kind| noise(kind, scene.port, &mut random)).collect();
        for mut stream in noise.iter().skip(2).step_by(8) {
            // One that trickles, which the server may have closed.
            drop(stream.write_all(b"x"));
        }
        scene.recover(began);
        scene.run_a_while();
        drop(noise);
        scene.recover(now_us());
    }
    let account = scene.finish();
    assert!(account.server.totals()["faults"] > 0, "{:?}", account.server.errors);
    account.balance("noise");
}
