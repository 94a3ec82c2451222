//! Sets the bit rate of a CAN interface, as `ip link` does. Opens no bus.

use std::io;

use socketcan::nl::{CanBitTiming, InterfaceDetails};
use socketcan::{CanCtrlMode, CanInterface, InterfaceCanParams, NlError};

use super::BusError;
use super::interface::{self, InterfaceState};
use super::route::{self, Change, Timing};
use super::socketcan as raw;

/// What [`set`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The interface was up with these rates already, and was left alone.
    Unchanged,
    /// The interface is up with these rates, which the kernel may have rounded to what the controller's clock
    /// divides into (by 5 % at most).
    Set {
        /// Bits per second.
        bit_rate: u32,
        /// Bits per second of an FD frame's data part, if FD is on.
        data_bit_rate: Option<u32>,
    },
}

/// Gives the interface `name` these rates (bits per second) and brings it up, taking it down if it is up with
/// others. With `data_bit_rate`, FD is turned on; without, FD is left as it is.
///
/// If the controller refuses the rates, an interface that was up comes up again as it was.
///
/// # Errors
/// There is no such CAN interface, it has no bit rate (a virtual one), the controller refuses the rates, the process has not the
/// right to set them, or the kernel answers otherwise.
pub fn set(name: &str, bit_rate: u32, data_bit_rate: Option<u32>) -> Result<Outcome, BusError> {
    let wish = Wish { name, bit_rate, data_bit_rate };
    let index = wish.index()?;
    let link = CanInterface::open_iface(index);
    let before = link.details().map_err(|error| wish.system("read its bit rate", as_io(error)))?;
    // Every driver of a controller reports its clock (IFLA_CAN_CLOCK); vcan and vxcan have none.
    if before.can.clock.is_none() {
        return Err(BusError::NoBitRate { name: name.to_owned() });
    }
    let fulfilled = wish.is_fulfilled_by(&before.can);
    if fulfilled && before.is_up {
        return Ok(Outcome::Unchanged);
    }
    if !fulfilled {
        if before.is_up {
            route::change(index, Change::Up(false)).map_err(|error| wish.system("take it down", error))?;
        }
        if let Err(error) = route::change(index, wish.change()) {
            wish.restore(index, &before);
            return Err(wish.refused(error));
        }
    }
    route::change(index, Change::Up(true)).map_err(|error| wish.system("bring it up", error))?;
    let now = link.can_params().map_err(|error| wish.system("read its bit rate", as_io(error)))?;
    Ok(Outcome::Set {
        bit_rate: now.bit_timing.map_or(bit_rate, |timing| timing.bitrate),
        data_bit_rate: active_data_bit_rate(&now),
    })
}

struct Wish<'a> {
    name: &'a str,
    bit_rate: u32,
    data_bit_rate: Option<u32>,
}

impl Wish<'_> {
    fn index(&self) -> Result<u32, BusError> {
        let name = self.name.to_owned();
        if !interface::is_valid_name(self.name) {
            return Err(BusError::InterfaceName { name });
        }
        match interface::state(self.name) {
            Ok(InterfaceState::Missing) if !raw::is_supported() => Err(BusError::KernelHasNoCan),
            Ok(InterfaceState::Missing) => Err(BusError::InterfaceMissing { name }),
            Ok(InterfaceState::NotCan) => Err(BusError::InterfaceNotCan { name }),
            Ok(InterfaceState::Down { index } | InterfaceState::Up { index, .. }) => Ok(index),
            Err(source) => Err(BusError::InterfaceSystem { name, operation: "ask for its state", source }),
        }
    }

    fn is_fulfilled_by(&self, parameters: &InterfaceCanParams) -> bool {
        let bit_rate = parameters.bit_timing.map(|timing| timing.bitrate);
        let data_fits =
            self.data_bit_rate.is_none() || self.data_bit_rate == active_data_bit_rate(parameters);
        bit_rate == Some(self.bit_rate) && data_fits
    }

    /// All in one message: the kernel takes FD only together with both rates.
    fn change(&self) -> Change {
        let timing = |bit_rate| Timing { bit_rate, sample_point: 0 };
        Change::Timing {
            nominal: timing(self.bit_rate),
            data: self.data_bit_rate.map(timing),
            fd: self.data_bit_rate.map(|_| true),
        }
    }

    /// After a refusal. Kernel 6.1 takes the bit rate over before it finds that the controller knows no FD.
    fn restore(&self, index: u32, before: &InterfaceDetails) {
        let timing = |old: CanBitTiming| Timing { bit_rate: old.bitrate, sample_point: old.sample_point };
        let was_fd = active_data_bit_rate(&before.can).is_some();
        let timing = before.can.bit_timing.map(|old| Change::Timing {
            nominal: timing(old),
            data: before.can.data_bit_timing.filter(|_| was_fd).map(timing),
            fd: (was_fd || self.data_bit_rate.is_some()).then_some(was_fd),
        });
        let up = before.is_up.then_some(Change::Up(true));
        for change in timing.into_iter().chain(up) {
            if let Err(error) = route::change(index, change) {
                tracing::error!("interface {}: cannot make it again as it was: {error}", self.name);
            }
        }
    }

    fn refused(&self, source: io::Error) -> BusError {
        if source.kind() == io::ErrorKind::PermissionDenied {
            return self.no_rights();
        }
        BusError::BitRateRefused {
            name: self.name.to_owned(),
            bit_rate: self.bit_rate,
            data_bit_rate: self.data_bit_rate,
            source,
        }
    }

    fn system(&self, operation: &'static str, source: io::Error) -> BusError {
        match source.kind() {
            io::ErrorKind::PermissionDenied => self.no_rights(),
            _ => BusError::InterfaceSystem { name: self.name.to_owned(), operation, source },
        }
    }

    fn no_rights(&self) -> BusError {
        BusError::BitRateNoRights {
            name: self.name.to_owned(),
            bit_rate: self.bit_rate,
            data_bit_rate: self.data_bit_rate,
        }
    }
}

pub(super) fn active_data_bit_rate(parameters: &InterfaceCanParams) -> Option<u32> {
    let fd = parameters.ctrl_mode.is_some_and(|modes| modes.has_mode(CanCtrlMode::Fd));
    parameters.data_bit_timing.filter(|_| fd).map(|timing| timing.bitrate)
}

pub(super) fn as_io(error: socketcan::Error) -> io::Error {
    match error {
        socketcan::Error::Io(error) => error,
        socketcan::Error::Nl(NlError::Netlink { errno }) => io::Error::from_raw_os_error(errno),
        other => io::Error::other(other),
    }
}
