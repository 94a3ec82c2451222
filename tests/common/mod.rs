//! What the integration tests share.

pub mod skip;

use std::process::Command;
use std::sync::OnceLock;

use skip::skip;

/// Whether this process can make virtual CAN interfaces. If not it says so; under CANIP_REQUIRE_CAN=1 the test
/// fails instead.
pub fn can_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    if *AVAILABLE.get_or_init(can_make_vcan) {
        return true;
    }
    let what = "no vcan interface can be made here: it takes root and the module vcan";
    skip(what, Some("CANIP_REQUIRE_CAN"));
    false
}

/// Whether the test may use can0 and can1. Frames are sent on them, and they are set up anew, so that is done only where it is
/// asked for by `CANIP_REQUIRE_CAN=1`: on a workbench they may be wired to something that moves.
pub fn controllers_available() -> bool {
    if std::env::var("CANIP_REQUIRE_CAN").as_deref() == Ok("1") {
        return can_available();
    }
    skip("can0 and can1 are used only when CANIP_REQUIRE_CAN=1", None);
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
