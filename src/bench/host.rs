//! What measures, and where.

use std::time::SystemTime;

use nix::sys::utsname::uname;

use crate::report::document::{Host, Program};

/// This program.
pub fn program() -> Program {
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("CANIP_COMMIT").map(str::to_owned),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
    }
}

/// This machine.
pub fn host() -> Host {
    let (name, kernel) = match uname() {
        Ok(names) => {
            let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
            let kernel = [names.sysname(), names.release(), names.machine()].map(text).join(" ");
            (text(names.nodename()), kernel)
        }
        Err(errno) => ("unknown".to_owned(), format!("unknown ({errno})")),
    };
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    Host { name, kernel, processors, processor: processor_name() }
}

/// As `/proc/cpuinfo` has it: `model name` on PCs, `Model` on a Raspberry Pi.
fn processor_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let named = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    named("model name").or_else(|| named("Model"))
}

/// Now, as RFC 3339 writes it: UTC, to the second.
pub fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
