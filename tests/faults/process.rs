//! What may happen to a bridge's process: killed, stopped, started where io_uring is forbidden. On software buses where there
//! is no CAN.

use std::time::Duration;

use canip_peer::bus::BusKind;

use crate::can::{Made, can_available};
use crate::common::skip::skip;
use crate::program::{Program, unique_name};
use crate::scene::{Options, Scene, software, trials};
use crate::traffic::{Place, now_us};

/// How long a process is stopped, which is what is tested: many times the age that frames may have.
const STOPPED: Duration = Duration::from_secs(2);

/// On real CAN where there is some, else on software buses, which other machines run these tests on.
fn on_the_best_buses(test: fn(Place, Place, &str)) {
    let Some(_lab) = can_available() else { return test(software("near"), software("far"), "software") };
    let names = [unique_name("v"), unique_name("v")];
    let _made = names.each_ref().map(|name| Made::vcan(name, 72));
    let [near, far] = names.map(|name| Place { kind: BusKind::SocketCan, name });
    test(near, far, "can");
}

/// Kills it and waits for its end, as whoever starts the next one does: until then its port is taken.
fn kill(program: &mut Program) {
    program.signal("KILL");
    program.child.wait().unwrap();
}

#[test]
fn server_killed_under_load() {
    on_the_best_buses(|near, far, kind| {
        let mut scene = Scene::start(near, far, Options::default(), Options::default());
        for trial in 1..=trials() as usize {
            kill(&mut scene.server);
            scene.restart_server("").finish();
            scene.server.wait_error("listening on ");
            let listening = now_us();
            scene.client.wait_errors("one of us was started anew, or has forgotten the other", trial);
            scene.recover(listening);
            scene.run_a_while();
        }
        scene.finish().balance_survivor(&format!("server-killed-{kind}"), |account| &account.client, 1);
    });
}

#[test]
fn client_killed_under_load() {
    on_the_best_buses(|near, far, kind| {
        let mut scene = Scene::start(near, far, Options::default(), Options::default());
        for trial in 1..=trials() as usize {
            kill(&mut scene.client);
            scene.restart_client().finish();
            scene.client.wait_error("engine: ");
            let restarted = now_us();
            scene.client.wait_error(": version 5");
            scene.server.wait_errors("connected: version 5", trial + 1);
            scene.recover(restarted);
            scene.run_a_while();
        }
        scene.finish().balance_survivor(&format!("client-killed-{kind}"), |account| &account.server, 0);
    });
}

#[test]
fn either_end_stopped_under_load() {
    on_the_best_buses(|near, far, kind| {
        let mut scene = Scene::start(near, far, Options::default(), Options::default());
        for trial in 0..trials() * 2 {
            let program = if trial % 2 == 0 { &scene.server } else { &scene.client };
            program.signal("STOP");
            std::thread::sleep(STOPPED);
            let goes_on = now_us();
            program.signal("CONT");
            scene.recover(goes_on);
            scene.run_a_while();
        }
        scene.finish().balance(&format!("process-stopped-{kind}"));
    });
}

/// io_uring is forbidden, as by a container's profile, while the server is down: the next one goes on without.
#[test]
fn io_uring_forbidden_in_a_restart() {
    if std::env::var("CANIP_REQUIRE_CAN").as_deref() == Ok("1") {
        // Its Python takes a minute on emulated processors, and nothing of it depends on the kernel.
        return crate::say("LEFT OUT in the virtual machine: the restart under tools/forbid-io-uring\n");
    }
    on_the_best_buses(|near, far, kind| {
        let mut scene = Scene::start(near, far, Options::default(), Options::default());
        let forbid = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/forbid-io-uring");
        for under in [forbid, ""] {
            kill(&mut scene.server);
            scene.restart_server(under).finish();
            scene.server.wait_error("listening on ");
            let listening = now_us();
            if !under.is_empty() {
                scene.server.wait_error("engine: epoll");
            }
            scene.recover(listening);
            scene.run_a_while();
        }
        scene.finish().balance_survivor(&format!("io-uring-forbidden-{kind}"), |account| &account.client, 1);
    });
}

/// The same by the kernel's own switch, where it has one (6.6), under a bridge that runs on.
#[test]
fn io_uring_switched_off_under_load() {
    const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";
    let Some(_lab) = can_available() else { return };
    let Ok(before) = std::fs::read_to_string(SWITCH) else {
        skip("this kernel has no switch for io_uring", None);
        return;
    };
    let names = [unique_name("v"), unique_name("v")];
    let _made = names.each_ref().map(|name| Made::vcan(name, 72));
    let [near, far] = names.map(|name| Place { kind: BusKind::SocketCan, name });
    let mut scene = Scene::start(near, far, Options::default(), Options::default());
    scene.server.wait_error("engine: io_uring");
    let _switched_back = Restored { path: SWITCH, text: before };
    std::fs::write(SWITCH, "2").unwrap();
    // Those that run have their rings.
    scene.run_a_while();
    kill(&mut scene.server);
    scene.restart_server("").finish();
    scene.server.wait_error("listening on ");
    let listening = now_us();
    scene.server.wait_error("engine: epoll");
    scene.recover(listening);
    scene.run_a_while();
    scene.finish().balance_survivor("io-uring-switched-off", |account| &account.client, 1);
}

/// A file that gets its text back.
struct Restored {
    path: &'static str,
    text: String,
}

impl Drop for Restored {
    fn drop(&mut self) {
        // Of a virtual machine that is thrown away; the tests behind this one would say.
        let _ = std::fs::write(self.path, &self.text);
    }
}

/// Killed at any moment from its first instruction on: the next one starts, on the same port, bus and files, and carries.
#[test]
fn nothing_that_was_killed_hinders_the_next() {
    on_the_best_buses(|near, far, kind| {
        let folder = std::env::temp_dir().join(unique_name("killed"));
        std::fs::create_dir(&folder).unwrap();
        let options = |side: &str| {
            let record = folder.join(format!("{side}.log"));
            Options { arguments: format!("--record {}", record.display()), ..Options::default() }
        };
        let mut scene = Scene::start(near, far, options("server"), options("client"));
        let mut random = fastrand::Rng::with_seed(8);
        for _ in 0..trials() * 5 {
            let is_server = random.bool();
            let delay = Duration::from_millis(random.u64(0..150));
            kill(if is_server { &mut scene.server } else { &mut scene.client });
            let killed = if is_server { scene.restart_server("") } else { scene.restart_client() };
            killed.finish();
            // The moment is random, which is what is tested: it may be before the next one is up.
            std::thread::sleep(delay);
            kill(if is_server { &mut scene.server } else { &mut scene.client });
            let killed = if is_server { scene.restart_server("") } else { scene.restart_client() };
            killed.finish();
            let awaited = if is_server { "listening on " } else { ": version 5" };
            let program = if is_server { &scene.server } else { &scene.client };
            program.wait_error(awaited);
            scene.recover(now_us());
        }
        scene.finish().balance_each(&format!("killed-at-random-{kind}"));
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// A software bus whose host is killed: whoever is left hosts it, and a socket file that is left behind hinders nobody.
#[test]
fn host_of_a_bus_killed() {
    let [near, far] = [software("near"), software("far")];
    for _ in 0..trials() * 5 {
        let mut host =
            Program::bridge(&format!("server --can-interface software --can {} --port 0", near.name));
        host.wait_error("listening on ");
        kill(&mut host);
        host.finish();
    }
    // A bus on which nobody is but the dead.
    let scene = Scene::start(near, far, Options::default(), Options::default());
    scene.finish().balance("bus-host-killed");
}
