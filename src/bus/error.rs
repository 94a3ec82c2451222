//! What can go wrong with a bus, as the user reads it: one line that says what to type next.

use std::io;

/// Why a bus could not be opened or set up.
#[derive(thiserror::Error, Debug)]
pub enum BusError {
    /// No network interface can have this name.
    #[error(
        "{name:?} is no interface name (1 to 15 characters): see which CAN interfaces there are with: ip -br link show type can"
    )]
    InterfaceName {
        /// As it was given.
        name: String,
    },
    /// There is no interface of this name.
    #[error("there is no interface {name}: {}", after_missing(name))]
    InterfaceMissing {
        /// The interface.
        name: String,
    },
    /// The interface is Ethernet, or something else that carries no CAN frames.
    #[error("{name} is not a CAN interface: see which there are with: ip -br link show type can")]
    InterfaceNotCan {
        /// The interface.
        name: String,
    },
    /// The interface exists and is down.
    #[error("interface {name} is down: {}", after_down(name))]
    InterfaceDown {
        /// The interface.
        name: String,
    },
    /// FD frames are asked for, and the interface is set up for classic frames.
    #[error("interface {name} carries no CAN FD frames (MTU {mtu}, 72 needed): {}", after_no_fd(name))]
    InterfaceNoFd {
        /// The interface.
        name: String,
        /// Its MTU: 16 for classic CAN.
        mtu: u32,
    },
    /// This kernel, or this container's, has no raw CAN sockets.
    #[error("this kernel has no CAN: as root type: modprobe can-raw, or use --can-interface software")]
    KernelHasNoCan,
    /// The process may not do this: raw CAN sockets need no capability, so a seccomp filter or the like says so.
    #[error(
        "no rights to {operation} for {name} ({source}): a sandbox or security policy forbids it, since CAN itself asks \
         for none; run outside of it, or use --can-interface software"
    )]
    NoRights {
        /// The interface.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused a step for a reason of its own.
    #[error("interface {name}: cannot {operation}: {source}")]
    InterfaceSystem {
        /// The interface.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The interface has no bit rate to set.
    #[error("{name} has no bit rate (a virtual interface): leave the bit rate options out")]
    NoBitRate {
        /// The interface.
        name: String,
    },
    /// A part of the bus's time was asked for, and nobody says how fast the bus is.
    #[error(
        "--tx-load: {name} has no bit rate of its own: give that of the bus it stands for, for example --bitrate 500000"
    )]
    UnknownBitRate {
        /// The bus.
        name: String,
    },
    /// A bit rate is given for a bus that has another one.
    #[error("--bitrate {given}: {name} has a bit rate of its own, {own} bit/s: leave --bitrate out")]
    OtherBitRate {
        /// The bus.
        name: String,
        /// What it says of itself.
        own: u32,
        /// What the user says.
        given: u32,
    },
    /// Bit rates are for the administrator to set.
    #[error("no rights to set the bit rate of {name}: as root type: {}", ip_link_line(name, *bit_rate, *data_bit_rate))]
    BitRateNoRights {
        /// The interface.
        name: String,
        /// Bits per second.
        bit_rate: u32,
        /// Bits per second of an FD frame's data part.
        data_bit_rate: Option<u32>,
    },
    /// The controller or its driver cannot do these rates.
    #[error(
        "{name} cannot be set to {}: {source}; see what its controller can do with: ip -details link show {name}",
        Rates(*bit_rate, *data_bit_rate)
    )]
    BitRateRefused {
        /// The interface.
        name: String,
        /// Bits per second.
        bit_rate: u32,
        /// Bits per second of an FD frame's data part.
        data_bit_rate: Option<u32>,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A software bus cannot have this name.
    #[error(
        "software bus name {name:?} is not usable: give 1 to 64 letters, digits, '_', '-' or '.', \
         for example bus0"
    )]
    SoftwareName {
        /// As it was given.
        name: String,
    },
    /// A software bus cannot be paced at this bit rate.
    #[error(
        "software bus {name} {}: give 1000 to 1000000, for example {name}@500000",
        if .bit_rate.is_empty() {
            "has no bit rate behind the @".to_owned()
        } else {
            format!("cannot be paced at {} bit/s", .bit_rate.escape_debug())
        }
    )]
    SoftwareBitRate {
        /// The bus.
        name: String,
        /// As it was given.
        bit_rate: String,
    },
    /// The bus is paced otherwise than this joiner asks for.
    #[error(
        "software bus {name} is {actual}, not {asked}: name it without a bit rate to join it as it is, \
         or choose another name"
    )]
    SoftwarePace {
        /// The bus.
        name: String,
        /// What was asked for.
        asked: Pace,
        /// What the bus has.
        actual: Pace,
    },
    /// The bus has as many members as it takes.
    #[error("software bus {name} has its {members} members: end one of them, or choose another name")]
    SoftwareFull {
        /// The bus.
        name: String,
        /// The limit.
        members: u32,
    },
    /// Somebody holds the name of the bus and does not answer.
    #[error(
        "software bus {name} does not answer{}: end that process if it hangs, or choose another name",
        Host(*pid)
    )]
    SoftwareSilent {
        /// The bus.
        name: String,
        /// The process that hosts it, 0 if not known.
        pid: i32,
    },
    /// Somebody holds the name of the bus and answers otherwise than a bus does.
    #[error("software bus {name}: what answers is no bus of this version{}: choose another name", Host(*pid))]
    SoftwareForeign {
        /// The bus.
        name: String,
        /// The process that answered, 0 if not known.
        pid: i32,
    },
    /// The kernel refused a step of joining a software bus.
    #[error("software bus {name}: cannot {operation}: {source}")]
    SoftwareSystem {
        /// The bus.
        name: String,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl BusError {
    /// Whether what was typed cannot be a bus anywhere, so that nothing needs to be tried.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::InterfaceName { .. }
                | Self::SoftwareName { .. }
                | Self::SoftwareBitRate { .. }
                | Self::UnknownBitRate { .. }
                | Self::OtherBitRate { .. }
        )
    }
}

/// The shell line that does what [`super::bit_rate::set`] does.
fn ip_link_line(name: &str, bit_rate: u32, data_bit_rate: Option<u32>) -> String {
    let fd = data_bit_rate.map(|rate| format!(" dbitrate {rate} fd on")).unwrap_or_default();
    format!(
        "ip link set {name} down && ip link set {name} type can bitrate {bit_rate}{fd} && ip link set {name} up"
    )
}

fn is_virtual(name: &str) -> bool {
    name.starts_with("vcan")
}

fn after_missing(name: &str) -> String {
    if is_virtual(name) {
        format!("ip link add dev {name} type vcan && ip link set {name} up")
    } else {
        "see which CAN interfaces there are with: ip -br link show type can".to_owned()
    }
}

fn after_down(name: &str) -> String {
    if is_virtual(name) {
        format!("ip link set {name} up")
    } else {
        format!("ip link set {name} up type can bitrate 500000")
    }
}

fn after_no_fd(name: &str) -> String {
    if is_virtual(name) {
        format!("ip link set {name} down && ip link set {name} mtu 72 && ip link set {name} up")
    } else {
        format!("if its controller can, {}", ip_link_line(name, 500_000, Some(2_000_000)))
    }
}

struct Rates(u32, Option<u32>);

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(data) => write!(f, "{} bit/s with {data} bit/s for FD data", self.0),
            None => write!(f, "{} bit/s", self.0),
        }
    }
}

/// Whether a software bus is paced, in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace(pub Option<u32>);

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(bit_rate) => write!(f, "paced at {bit_rate} bit/s"),
            None => f.write_str("not paced"),
        }
    }
}

struct Host(i32);

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 > 0 { write!(f, " (process {} hosts it)", self.0) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_says_what_to_type() {
        let name = || "can0".to_owned();
        let cases = [
            (
                BusError::InterfaceMissing { name: name() },
                "there is no interface can0: see which CAN interfaces there are with: ip -br link show type can",
            ),
            (
                BusError::InterfaceMissing { name: "vcan7".to_owned() },
                "there is no interface vcan7: ip link add dev vcan7 type vcan && ip link set vcan7 up",
            ),
            (
                BusError::InterfaceDown { name: name() },
                "interface can0 is down: ip link set can0 up type can bitrate 500000",
            ),
            (
                BusError::BitRateNoRights { name: name(), bit_rate: 500_000, data_bit_rate: None },
                "no rights to set the bit rate of can0: as root type: ip link set can0 down && \
                 ip link set can0 type can bitrate 500000 && ip link set can0 up",
            ),
            (
                BusError::BitRateNoRights { name: name(), bit_rate: 500_000, data_bit_rate: Some(2_000_000) },
                "no rights to set the bit rate of can0: as root type: ip link set can0 down && \
                 ip link set can0 type can bitrate 500000 dbitrate 2000000 fd on && ip link set can0 up",
            ),
            (
                BusError::BitRateRefused {
                    name: name(),
                    bit_rate: 3,
                    data_bit_rate: None,
                    source: io::Error::from_raw_os_error(libc::EDOM),
                },
                "can0 cannot be set to 3 bit/s: Numerical argument out of domain (os error 33); see what its \
                 controller can do with: ip -details link show can0",
            ),
        ];
        for (error, line) in cases {
            assert_eq!(error.to_string(), line);
        }
    }
}
