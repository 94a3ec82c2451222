//! The bus of this end: opens a socket for each link, and follows the interface as it goes down, comes up, is deleted
//! and made anew. Says each change once, however many links there are.

use std::io;
use std::rc::Rc;

use tracing::{debug, warn};

use super::platform::Platform;
use super::question::{Findings, Question};
use super::{bus_words, detached};
use crate::bus::controller::{self, ControllerState};
use crate::bus::interface::InterfaceState;
use crate::bus::{self, BusAddress, BusError, BusKind, BusOptions, OpenBus, Pace};
use crate::config::{BitRate, Bounds};
use crate::frame::Image;
use crate::frame::filter::Filter;
use crate::wire::v5::{self as wire, BusState, Controller};

/// Whose sockets are open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presence {
    /// The sockets that are open are sockets of the bus that is there, if one is.
    Same,
    /// Another interface has the name now: sockets must be opened anew.
    Replaced,
}

/// What a look at the interface found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    /// Whose sockets are open.
    pub presence: Presence,
    /// Whether the bus is not as it was.
    pub changed: bool,
}

/// The bus that links get their sockets from.
#[derive(Debug)]
pub struct BusSocket {
    address: BusAddress,
    options: BusOptions,
    filter: Rc<Filter>,
    /// The kernel lets through what the filter does, and nothing else.
    is_filtered: bool,
    /// As last seen; a software bus is always up.
    state: InterfaceState,
    /// The same for the peers, with what the controller says of itself.
    told: BusState,
    /// The same when the interface was last up.
    was_up: BusState,
    /// A socket has told that the interface is down, and it has not been found so since.
    down_reported: bool,
    /// Another interface has the name than when one was last up.
    is_anew: bool,
    /// The index of the interface that the open sockets belong to.
    bound_index: Option<u32>,
    /// Whether the last attempt to open failed, and that was said.
    failing: bool,
    /// Whether it is there for load tests: no bus of the user's.
    is_for_tests: bool,
    /// What peers may put on it.
    bounds: Bounds,
}

impl BusSocket {
    /// Opens the bus once, to see that it can be, and closes it again. Gives a line for the log, too.
    ///
    /// # Errors
    /// Why it cannot, for the user.
    pub fn start(
        mut address: BusAddress,
        options: BusOptions,
        filter: Rc<Filter>,
        platform: &impl Platform,
    ) -> Result<(Self, String), BusError> {
        let open = platform.open_bus(&address, &options)?;
        // Whoever hosts a software bus after the one that left paces it alike.
        address.paced_bit_rate = open.paced_bit_rate;
        let (state, told) = first_look(&address, platform);
        let line = match address.kind {
            BusKind::SocketCan => format!(
                "{}: receive queue of {} bytes granted ({} asked for); filter: {filter}",
                address.name, open.receive_queue_bytes, options.receive_queue_bytes
            ),
            BusKind::Software => {
                format!("software bus {}, {}; filter: {filter}", address.name, Pace(address.paced_bit_rate))
            }
        };
        let bound_index = index_of(state);
        let is_filtered = address.kind == BusKind::SocketCan && filter.kernel_is_exact;
        let bus = Self {
            address,
            options,
            filter,
            is_filtered,
            state,
            told,
            was_up: told,
            down_reported: false,
            is_anew: false,
            bound_index,
            failing: false,
            is_for_tests: false,
            bounds: Bounds::default(),
        };
        Ok((bus, line))
    }

    /// The same with bounds on what peers may put on it.
    ///
    /// # Errors
    /// A part of its time is to be bounded, and its bit rate is not known, or not the one that is given.
    pub fn bounded(self, bounds: &Bounds) -> Result<Self, BusError> {
        let bus = Self { bounds: bounds.clone(), ..self };
        let Some(load) = bounds.load else { return Ok(bus) };
        let given = load.bit_rate.filter(|_| load.is_for_one_bus);
        match (bus.bit_rate(), given) {
            (None, _) => Err(BusError::UnknownBitRate { name: bus.address.name }),
            (Some(own), Some(given)) if own.nominal != given.nominal => {
                Err(BusError::OtherBitRate { name: bus.address.name, own: own.nominal, given: given.nominal })
            }
            _ => Ok(bus),
        }
    }

    /// What peers may put on it.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Whether peers may put a frame on it.
    #[inline]
    pub fn allows(&self, image: Image<'_>) -> bool {
        match &self.bounds.allow {
            None => !self.bounds.read_only,
            Some(filter) => filter.passes(image),
        }
    }

    /// How fast it is: as it says itself, else as the user says.
    pub fn bit_rate(&self) -> Option<BitRate> {
        // While it is down, as it was.
        let BusState { bit_rate, data_bit_rate, .. } = self.was_up;
        let own = BitRate { nominal: bit_rate, data: (data_bit_rate > 0).then_some(data_bit_rate) };
        let given = self.bounds.load.and_then(|load| load.bit_rate);
        Some(own).filter(|own| own.nominal > 0).or(given)
    }

    /// The same for load tests.
    pub fn for_tests(self) -> Self {
        Self { is_for_tests: true, ..self }
    }

    /// Whether it is there for load tests: what crosses then is not recorded, and whom it does not concern is not told.
    pub fn is_for_tests(&self) -> bool {
        self.is_for_tests
    }

    /// Which kind of bus it is.
    pub fn kind(&self) -> BusKind {
        self.address.kind
    }

    /// The bus's name.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// How the bus is, for the peers.
    pub fn state(&self) -> BusState {
        self.told
    }

    /// Whether the controller takes no part in its bus. The kernel takes frames for it all the same, and drops them
    /// without a word: its queue is switched off with the carrier.
    pub fn is_bus_off(&self) -> bool {
        self.told.controller == Controller::BusOff
    }

    /// Which frames of the bus go to the peer.
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether nothing comes from it that the filter does not let through.
    #[inline]
    pub fn is_filtered(&self) -> bool {
        self.is_filtered
    }

    /// How to open a new socket; `None` while the bus is not there.
    pub fn opening(&self) -> Option<Opening> {
        let is_up = matches!(self.state, InterfaceState::Up { .. });
        is_up.then(|| Opening { address: self.address.clone(), options: self.options.clone() })
    }

    /// Says, once, that a socket could not be opened.
    pub fn failed(&mut self, error: &BusError) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!("{error}; retrying");
        }
    }

    /// Notes that a socket could be opened.
    pub fn worked(&mut self) {
        self.failing = false;
    }

    /// A socket has reported `error`, which is why it receives no more.
    pub fn stopped(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            // Said when the interface is looked at, which its change brings about.
            Some(libc::ENETDOWN) => self.down_reported = true,
            Some(libc::ENODEV) => {}
            // The software bus's host has left; the next attempt joins or hosts.
            None | Some(libc::ECONNRESET) => {}
            Some(_) => debug!("{}: {error}; opening it anew", self.address.name),
        }
    }

    /// Whether its interface has a controller, as it was last up.
    pub fn has_controller(&self) -> bool {
        self.was_up.controller != Controller::Unknown
    }

    /// What is to be asked about its interface; nothing about a software bus, which is always up.
    pub fn question(&self) -> Option<Question> {
        let has_interface = self.address.kind == BusKind::SocketCan;
        has_interface.then(|| Question::new(&self.address.name, self.bound_index))
    }

    /// Notes how the interface is, and says what has changed.
    pub fn note(&mut self, findings: Findings) -> Look {
        let state = match findings.state {
            Ok(state) => state,
            Err(error) => {
                warn!("{}: cannot ask for its state: {error}", self.address.name);
                return Look { presence: Presence::Same, changed: false };
            }
        };
        let before = std::mem::replace(&mut self.state, state);
        let told = describe(state, findings.controller);
        let told_before = std::mem::replace(&mut self.told, told);
        let replaced = match (self.bound_index, index_of(state)) {
            (Some(bound), Some(now)) => bound != now,
            // It has another name now, and its sockets would go on. What was asked before these were opened does not count:
            // it was about another interface.
            (Some(bound), None) => findings.renamed == Some(bound),
            (None, _) => false,
        };
        self.is_anew |= replaced;
        self.say(before, &told_before);
        self.bound_index = index_of(state).or(self.bound_index.filter(|_| !replaced));
        let presence = if replaced { Presence::Replaced } else { Presence::Same };
        Look { presence, changed: told != told_before }
    }

    /// One line for each change, whatever else has changed with it.
    fn say(&mut self, before: InterfaceState, told_before: &BusState) {
        let name = &self.address.name;
        if before != self.state {
            bus_words::interface(name, self.state, self.is_anew, &self.was_up, &self.told);
            self.down_reported = false;
        } else if self.down_reported && matches!(self.state, InterfaceState::Up { .. }) {
            bus_words::interface_was_down(name, &self.was_up, &self.told);
            self.down_reported = false;
        }
        // A controller whose interface is down says nothing.
        if self.told.controller != told_before.controller && self.told.presence == wire::Presence::Up {
            bus_words::controller(name, told_before.controller, &self.told);
        }
        if matches!(self.state, InterfaceState::Up { .. }) {
            self.was_up = self.told;
            self.is_anew = false;
        }
    }
}

/// What it takes to open a socket, apart from everything else.
#[derive(Debug)]
pub struct Opening {
    address: BusAddress,
    options: BusOptions,
}

impl Opening {
    /// Opens the socket. Joining a software bus waits for its host, which may be slow or hang: that is done on a thread
    /// of its own, so that frames go on crossing meanwhile.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub async fn open(self) -> Result<OpenBus, BusError> {
        match self.address.kind {
            BusKind::SocketCan => bus::open(&self.address, &self.options),
            BusKind::Software => {
                let name = self.address.name.clone();
                let opening = detached::run(move || bus::open(&self.address, &self.options));
                opening.await.unwrap_or_else(|source| {
                    Err(BusError::SoftwareSystem { name, operation: "make a thread to join it", source })
                })
            }
        }
    }
}

/// How a bus is at the start, and the same for the peers.
fn first_look(address: &BusAddress, platform: &impl Platform) -> (InterfaceState, BusState) {
    match address.kind {
        BusKind::SocketCan => {
            let Findings { state, controller, .. } = Question::new(&address.name, None).ask(platform);
            let state = state.unwrap_or(InterfaceState::Missing);
            (state, describe(state, controller))
        }
        BusKind::Software => {
            let state = InterfaceState::Up { index: 0, mtu: 72 };
            let bit_rate = address.paced_bit_rate.unwrap_or(0);
            let told = BusState { presence: wire::Presence::Up, mtu: 72, bit_rate, ..BusState::default() };
            (state, told)
        }
    }
}

fn describe(state: InterfaceState, controller: controller::Controller) -> BusState {
    let mtu = match state {
        InterfaceState::Missing | InterfaceState::NotCan => return BusState::default(),
        // What is set meanwhile counts when it is up.
        InterfaceState::Down { .. } => {
            return BusState { presence: wire::Presence::Down, ..BusState::default() };
        }
        InterfaceState::Up { mtu, .. } => u16::try_from(mtu).unwrap_or(u16::MAX),
    };
    BusState {
        presence: wire::Presence::Up,
        controller: fault_confinement(controller.state),
        mtu,
        bit_rate: controller.bit_rate.unwrap_or(0),
        data_bit_rate: controller.data_bit_rate.unwrap_or(0),
        has_loop: false,
    }
}

fn fault_confinement(state: Option<ControllerState>) -> Controller {
    match state {
        None => Controller::Unknown,
        Some(ControllerState::ErrorActive) => Controller::ErrorActive,
        Some(ControllerState::ErrorWarning) => Controller::ErrorWarning,
        Some(ControllerState::ErrorPassive) => Controller::ErrorPassive,
        Some(ControllerState::BusOff) => Controller::BusOff,
        Some(ControllerState::Stopped) => Controller::Stopped,
        Some(ControllerState::Sleeping) => Controller::Sleeping,
    }
}

fn index_of(state: InterfaceState) -> Option<u32> {
    match state {
        InterfaceState::Up { index, .. } | InterfaceState::Down { index } => Some(index),
        InterfaceState::Missing | InterfaceState::NotCan => None,
    }
}
