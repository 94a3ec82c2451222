//! A controller that leaves its bus: what it says comes from the test, over the serial line of a slcan adapter.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread::JoinHandle;

use canip_peer::bus::BusKind;

use crate::can::{Made, can_available, eventually, ip};
use crate::program::{Program, unique_name};
use crate::scene::{Options, Scene, trials};
use crate::traffic::{Place, now_us};

/// A serial line adapter, whose firmware is the test, and the kernel's interface for it.
struct Adapter {
    line: File,
    _attached: Program,
    reader: Option<JoinHandle<()>>,
}

impl Adapter {
    fn attach(interface: &str) -> Adapter {
        let line = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
        let (mut number, unlocked) = (0 as libc::c_uint, 0 as libc::c_int);
        // SAFETY: the kernel reads one integer.
        let result = unsafe { libc::ioctl(line.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the kernel writes one integer.
        let result = unsafe { libc::ioctl(line.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        let mut command = Command::new("slcan_attach");
        command.args(["-w", "-n", interface, &format!("/dev/pts/{number}")]);
        let attached = Program::start(command);
        // Its commands and frames are taken, and nothing is answered; the adapter keeps no queue.
        let mut taking = line.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The line is closed when the other side is gone (EIO).
            while taking.read(&mut bytes).is_ok_and(|count| count > 0) {}
        });
        eventually("the interface of the adapter", || ip("-br link").contains(interface));
        Adapter { line, _attached: attached, reader: Some(reader) }
    }

    /// What the controller says of itself: `b` bus-off, `a` error-active, then both error counters.
    fn say(&mut self, state: &str) {
        self.line.write_all(format!("s{state}\r").as_bytes()).unwrap();
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // Its reader ends when slcan_attach, which is killed after this, is gone.
        drop(self.reader.take());
    }
}

/// A serial line carries little.
fn start(near: Place, far: Place) -> Scene {
    const RATE: u32 = 200;
    Scene::at("127.0.0.1", near, far, Options::default(), Options::default(), RATE)
}

#[test]
fn bus_off_and_restart_under_load() {
    let Some(_lab) = can_available() else { return };
    let [near, far] = [unique_name("v"), unique_name("s")];
    let _made = Made::vcan(&near, 72);
    let mut adapter = Adapter::attach(&far);
    ip(&format!("link set {far} type can bitrate 500000"));
    ip(&format!("link set {far} up"));
    let [near, far] = [near, far].map(|name| Place { kind: BusKind::SocketCan, name });
    let mut scene = start(near, far);
    let name = scene.far.name.clone();
    for trial in 1..=trials() as usize {
        adapter.say("b000255");
        scene.client.wait_errors(&format!("WARN {name} is bus-off: "), trial);
        scene.server.wait_errors(&format!(": its {name} is up, bus-off"), trial);
        // As far as this driver knows, a controller is restarted by its interface.
        ip(&format!("link set {name} down"));
        let up = now_us();
        ip(&format!("link set {name} up"));
        scene.recover(up);
        // It "is up", or "was down for a moment", as the bridge gets to look in between or not.
        scene.client.wait_errors(": frames cross again", trial);
        scene.server.wait_errors(&format!(": its {name} is up, error-active, 500000 bit/s"), trial);
    }
    let account = scene.finish();
    assert!(account.client.totals()["refused"] > 0, "{:?}", account.client.totals());
    // The driver makes error frames of what its controller says, which the load has not sent.
    account.balance_each("bus-off");
}

/// The bit rate can be changed while the interface is down only: it is said with the line that says that it is up.
#[test]
fn bit_rate_changed_under_load() {
    let Some(_lab) = can_available() else { return };
    let [near, far] = [unique_name("v"), unique_name("s")];
    let _made = Made::vcan(&near, 72);
    let _adapter = Adapter::attach(&far);
    ip(&format!("link set {far} type can bitrate 500000"));
    ip(&format!("link set {far} up"));
    let [near, far] = [near, far].map(|name| Place { kind: BusKind::SocketCan, name });
    let mut scene = start(near, far);
    let name = scene.far.name.clone();
    for (rate, before) in [(250_000, 500_000), (500_000, 250_000)] {
        ip(&format!("link set {name} down"));
        ip(&format!("link set {name} type can bitrate {rate}"));
        let up = now_us();
        ip(&format!("link set {name} up"));
        scene.recover(up);
        scene.client.wait_error(&format!("frames cross again, at {rate} bit/s instead of {before}"));
        scene.server.wait_error(&format!(": its {name} is up, error-active, {rate} bit/s"));
    }
    scene.finish().balance_but("bit-rate-changed", crate::interface::SWALLOWED * 2);
}
