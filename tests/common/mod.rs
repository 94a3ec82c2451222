//! What the integration tests share.

use std::io::Write;
use std::process::Command;
use std::sync::OnceLock;

/// Whether this process can make virtual CAN interfaces. If not it says so; under CANIP_REQUIRE_CAN=1 the test
/// fails instead.
pub fn can_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    if *AVAILABLE.get_or_init(can_make_vcan) {
        return true;
    }
    // Not println, whose output the harness keeps to itself when a test passes.
    std::io::stderr().write_all(b"SKIPPED: this machine has no CAN\n").unwrap();
    assert!(
        std::env::var("CANIP_REQUIRE_CAN").as_deref() != Ok("1"),
        "CANIP_REQUIRE_CAN=1, and no vcan interface can be made here: it takes root and the module vcan"
    );
    false
}

fn can_make_vcan() -> bool {
    let name = format!("probe{}", std::process::id());
    let ip = |arguments: &str| {
        let run = Command::new("ip").args(arguments.split(' ')).output();
        run.is_ok_and(|run| run.status.success())
    };
    ip(&format!("link add dev {name} type vcan")) && ip(&format!("link delete {name}"))
}
