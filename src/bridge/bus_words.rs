//! What is said of a bus of this end: that its interface goes and comes, and what is different about it then.

use tracing::{debug, info, warn};

use crate::bus::interface::InterfaceState;
use crate::wire::v5::{BusState, Controller};

/// Says how an interface is now. `was_up` is how it was when it was last up, `is_anew` that another one had its name then.
pub fn interface(name: &str, state: InterfaceState, is_anew: bool, was_up: &BusState, told: &BusState) {
    match state {
        InterfaceState::Up { .. } if is_anew => {
            info!(
                "interface {name} was made anew and is up: frames cross again{}",
                differences(was_up, told)
            );
        }
        InterfaceState::Up { .. } => {
            info!("interface {name} is up: frames cross again{}", differences(was_up, told));
        }
        InterfaceState::Down { .. } => warn!(
            "interface {name} is down: connections stay, frames for it are refused until: ip link set {name} up"
        ),
        InterfaceState::Missing => {
            warn!("interface {name} is gone: connections stay, frames for it are refused until it is back");
        }
        InterfaceState::NotCan => warn!("interface {name} is no CAN interface any more"),
    }
}

/// The interface was down and is up again, both since it was last looked at: a socket has told of it.
pub fn interface_was_down(name: &str, was_up: &BusState, told: &BusState) {
    warn!("interface {name} was down for a moment: frames cross again{}", differences(was_up, told));
}

/// A controller that leaves its bus, or comes back, is worth a line; that it counts errors is for who looks closely.
pub fn controller(name: &str, before: Controller, told: &BusState) {
    match told.controller {
        Controller::BusOff => warn!(
            "{name} is bus-off: frames for it are refused until it is restarted: ip link set {name} type can restart, \
             or restart-ms 100 for ever"
        ),
        Controller::ErrorPassive => {
            warn!("{name} is error-passive: see its wiring, bit rate and termination")
        }
        _ if before == Controller::BusOff => info!("{name} is {told}"),
        _ => debug!("{name} is {told}"),
    }
}

/// What is not as it was when the interface was last up: `, at 250000 bit/s instead of 500000, with CAN FD now`.
fn differences(was: &BusState, is: &BusState) -> String {
    let mut text = String::new();
    if is.bit_rate != was.bit_rate && is.bit_rate != 0 && was.bit_rate != 0 {
        text += &format!(", at {} bit/s instead of {}", is.bit_rate, was.bit_rate);
    }
    if is.data_bit_rate != was.data_bit_rate && is.data_bit_rate != 0 && was.data_bit_rate != 0 {
        text += &format!(", FD data at {} bit/s instead of {}", is.data_bit_rate, was.data_bit_rate);
    }
    match (was.carries_fd(), is.carries_fd()) {
        (false, true) => text += ", with CAN FD now",
        (true, false) => text += ", without CAN FD now: FD frames are refused",
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v5::Presence;

    #[test]
    fn what_is_different_is_named() {
        let classic = BusState { presence: Presence::Up, mtu: 16, bit_rate: 500_000, ..BusState::default() };
        let slower = BusState { bit_rate: 250_000, ..classic };
        let fd = BusState { mtu: 72, data_bit_rate: 2_000_000, ..classic };
        let fast = BusState { data_bit_rate: 5_000_000, ..fd };
        assert_eq!(differences(&classic, &classic), "");
        assert_eq!(differences(&classic, &slower), ", at 250000 bit/s instead of 500000");
        assert_eq!(differences(&classic, &fd), ", with CAN FD now");
        assert_eq!(differences(&fd, &classic), ", without CAN FD now: FD frames are refused");
        assert_eq!(differences(&fd, &fast), ", FD data at 5000000 bit/s instead of 2000000");
        let virtual_interface = BusState { bit_rate: 0, ..classic };
        assert_eq!(differences(&virtual_interface, &virtual_interface), "");
    }
}
