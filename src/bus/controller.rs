//! What a CAN controller says of itself. Opens no bus, and needs no rights.

use std::io;

use socketcan::CanInterface;
use socketcan::nl::CanState;

use super::bit_rate::{active_data_bit_rate, as_io};

/// The fault confinement state of a controller (ISO 11898-1), or why it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControllerState {
    /// Takes part without restriction.
    ErrorActive,
    /// An error counter has reached 96.
    ErrorWarning,
    /// An error counter has reached 128.
    ErrorPassive,
    /// The transmit error counter has passed 255: it takes no part.
    BusOff,
    /// Its interface is down.
    Stopped,
    /// Asleep.
    Sleeping,
}

/// A controller; of a virtual interface nothing is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Controller {
    /// Its state, where it has one.
    pub state: Option<ControllerState>,
    /// Bits per second, once they are set.
    pub bit_rate: Option<u32>,
    /// The same for the data of FD frames, if FD is on.
    pub data_bit_rate: Option<u32>,
}

/// Asks the controller of the interface with this index.
///
/// # Errors
/// The kernel's: the interface is gone, say.
pub fn ask(index: u32) -> io::Result<Controller> {
    let parameters = CanInterface::open_iface(index).can_params().map_err(as_io)?;
    // Every driver of a controller reports its clock (IFLA_CAN_CLOCK); vcan and vxcan have none.
    if parameters.clock.is_none() {
        return Ok(Controller::default());
    }
    Ok(Controller {
        state: parameters.state.map(|state| match state {
            CanState::ErrorActive => ControllerState::ErrorActive,
            CanState::ErrorWarning => ControllerState::ErrorWarning,
            CanState::ErrorPassive => ControllerState::ErrorPassive,
            CanState::BusOff => ControllerState::BusOff,
            CanState::Stopped => ControllerState::Stopped,
            CanState::Sleeping => ControllerState::Sleeping,
        }),
        bit_rate: parameters.bit_timing.map(|timing| timing.bitrate).filter(|&rate| rate > 0),
        data_bit_rate: active_data_bit_rate(&parameters),
    })
}
