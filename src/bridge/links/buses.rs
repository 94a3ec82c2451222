//! The links' bus sockets: opened when a link wants one, closed when the interface is another one, told about to peers.

use std::io;

use super::{Attention, Links, address};
use crate::bridge::bus_socket::{BusSocket, Opening, Presence};
use crate::bridge::link::{Ending, Link};
use crate::bridge::platform::Platform;
use crate::bridge::question::{Findings, Question};
use crate::bus::{BusError, OpenBus};
use crate::engine::Engine;

/// What is to be asked about the interfaces of all buses that have one. They are numbered: several may be under way at the
/// same time, and answers be noted in another order than that in which the interfaces were asked about.
#[derive(Debug)]
pub struct Questions {
    number: u64,
    of_buses: Vec<(usize, Question)>,
}

/// The answers to [`Questions`].
#[derive(Debug)]
pub struct Answers {
    number: u64,
    of_buses: Vec<(usize, Findings)>,
}

impl Questions {
    /// Whether nothing is to be asked.
    pub fn is_empty(&self) -> bool {
        self.of_buses.is_empty()
    }

    /// Asks, and waits for the answers. Whoever asks elsewhere does so in the order in which the questions came from
    /// [`Links::questions`].
    pub fn ask(self, platform: &impl Platform) -> Answers {
        let ask = |(bus, question): (usize, Question)| (bus, question.ask(platform));
        Answers { number: self.number, of_buses: self.of_buses.into_iter().map(ask).collect() }
    }
}

impl<P: Platform> Links<P> {
    /// How many buses the bridge has.
    pub fn bus_count(&self) -> usize {
        self.buses.len()
    }

    /// Looks at the interfaces, waiting for the answers, and notes these.
    pub fn check_buses<E: Engine>(&mut self, engine: &mut E) {
        let answers = self.questions().ask(&self.platform);
        self.note_answers(engine, answers);
    }

    /// What is to be asked about the interfaces now.
    pub fn questions(&mut self) -> Questions {
        self.questions_about(|_| true)
    }

    /// What is to be asked about those that have a controller.
    pub fn questions_about_controllers(&mut self) -> Questions {
        self.questions_about(BusSocket::has_controller)
    }

    fn questions_about(&mut self, is_asked_about: fn(&BusSocket) -> bool) -> Questions {
        self.questions += 1;
        let asked_about = self.buses.iter().enumerate().filter(|(_, bus)| is_asked_about(bus));
        let of_buses = asked_about.filter_map(|(index, bus)| Some((index, bus.question()?))).collect();
        Questions { number: self.questions, of_buses }
    }

    /// Says what has changed. Sockets of an interface that another has replaced are closed. Answers that are older than
    /// those which were noted last of the same bus tell of a past that is over, and are ignored.
    pub fn note_answers<E: Engine>(&mut self, engine: &mut E, answers: Answers) {
        for (bus, findings) in answers.of_buses {
            if self.answered[bus] < answers.number {
                self.answered[bus] = answers.number;
                self.note_findings(engine, bus, findings);
            }
        }
    }

    fn note_findings<E: Engine>(&mut self, engine: &mut E, bus: usize, findings: Findings) {
        let look = self.buses[bus].note(findings);
        if look.presence == Presence::Replaced {
            for index in 0..self.table.len() {
                if let Some(link) = &mut self.table[index] {
                    close(link, bus, &self.buses, &self.platform, engine);
                    self.mark(index, Attention::Whole);
                }
            }
        }
        if look.changed {
            let rate = self.buses[bus].bit_rate();
            if let (Some(Some(throttle)), Some(rate)) = (self.throttles.get_mut(bus), rate) {
                throttle.set_bit_rate(rate);
            }
            (0..self.table.len()).for_each(|index| self.tell_bus_states(index));
        }
    }

    /// Tells a link's session how our buses are.
    pub(super) fn tell_bus_states(&mut self, index: usize) {
        if let Some(Some(link)) = self.table.get_mut(index) {
            link.note_bus_states(&self.buses);
            self.mark(index, Attention::Whole);
        }
    }

    /// Whether a link has come to want a socket since the last call.
    pub fn take_bus_wanted(&mut self) -> bool {
        std::mem::take(&mut self.bus_wanted)
    }

    /// Whether [`Links::take_bus_wanted`] would say so.
    pub fn is_bus_wanted(&self) -> bool {
        self.bus_wanted
    }

    /// Says, once, why there is no socket.
    pub fn note_opened(&mut self, bus: usize, opened: Option<Result<OpenBus, BusError>>) -> Option<OpenBus> {
        match opened? {
            Ok(socket) => {
                self.buses[bus].worked();
                Some(socket)
            }
            Err(error) => {
                self.buses[bus].failed(&error);
                None
            }
        }
    }

    /// How to open a socket of a bus, if a link wants one. `Some(None)`: one does, and the bus is not there.
    pub fn wanted_bus(&self, bus: usize) -> Option<Option<Opening>> {
        let is_wanted = self.table.iter().flatten().any(|link| link.wants_bus(bus));
        is_wanted.then(|| self.buses[bus].opening())
    }

    /// Gives a new socket to a link that wants one, or tells those that do that there is none.
    pub fn give_bus<E: Engine>(&mut self, engine: &mut E, bus: usize, opened: Option<OpenBus>) {
        let wants = |link: &Option<Link>| link.as_ref().is_some_and(|link| link.wants_bus(bus));
        let Some(OpenBus { descriptor, packing, .. }) = opened else {
            for index in 0..self.table.len() {
                if let Some(link) = self.table[index].as_mut().filter(|link| link.wants_bus(bus)) {
                    link.buses[bus].failed = true;
                    self.mark(index, Attention::Whole);
                }
            }
            return;
        };
        // Nobody: the link that wanted it has ended since, and the socket is closed again.
        let Some(index) = self.table.iter().position(wants) else { return };
        let opened = engine.open_bus(address::bus(index, bus), descriptor, packing);
        let Some(link) = &mut self.table[index] else { return };
        match opened {
            Ok(id) => {
                link.buses[bus].attach(id);
                if !self.buses[bus].is_for_tests() {
                    self.recording.get_or_insert(index);
                }
            }
            Err(error) => link.drain(Ending::Broken(error)),
        }
        self.mark(index, Attention::Whole);
    }
}

/// Asks the kernel what the sockets of a link have dropped.
pub fn note_drops<E: Engine>(link: &mut Link, buses: &[BusSocket], platform: &impl Platform, engine: &E) {
    for (bus, socket) in buses.iter().enumerate() {
        let descriptor = link.buses[bus].id.and_then(|id| engine.bus_descriptor(id));
        if let Some(total) = descriptor.and_then(|descriptor| platform.drops(socket.kind(), descriptor)) {
            link.note_kernel_total(bus, total);
        }
    }
}

/// Closes a link's socket of a bus, once its drops are counted.
pub fn close<E: Engine>(
    link: &mut Link,
    bus: usize,
    buses: &[BusSocket],
    platform: &impl Platform,
    engine: &mut E,
) {
    note_drops(link, buses, platform, engine);
    if let Some(id) = link.buses[bus].detach() {
        engine.close_bus(id);
    }
}

/// Goes on after a bus socket has stopped to receive: on the same socket if it will work again, else without it.
pub fn settle_stopped<E: Engine>(
    link: &mut Link,
    bus: usize,
    buses: &[BusSocket],
    platform: &impl Platform,
    engine: &mut E,
    error: &io::Error,
) {
    // An interface that is down gives its sockets back when it is up. A software bus's host that leaves in a hurry
    // resets the connection, and what it had sent before can still be read.
    let works_again = matches!(error.raw_os_error(), Some(libc::ENETDOWN | libc::ECONNRESET));
    let resumed = match link.buses[bus].id {
        Some(id) if works_again => engine.resume_bus(id).is_ok(),
        _ => false,
    };
    if !resumed {
        close(link, bus, buses, platform, engine);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::bridge::pretended_kernel::{self, Kernel};
    use crate::bus::controller::ControllerState;
    use crate::engine::epoll::EpollEngine;

    /// A link, and what it takes to keep it.
    struct Scene {
        kernel: Kernel,
        engine: EpollEngine,
        links: Links<Kernel>,
        _peer: UnixStream,
    }

    impl Scene {
        /// The link has a socket of the interface, whose index is 1.
        fn start() -> Self {
            let kernel = Kernel::with_interface(1);
            let (mut engine, mut links) = (EpollEngine::new().unwrap(), kernel.links());
            let (ours, peer) = UnixStream::pair().unwrap();
            let (ended, _) = tokio::sync::oneshot::channel();
            links.open(&mut engine, "peer".to_owned(), ours.into(), ended).unwrap();
            links.service(&mut engine, kernel.read(), true);
            let mut scene = Self { kernel, engine, links, _peer: peer };
            scene.open_bus();
            scene
        }

        fn open_bus(&mut self) {
            assert!(!self.is_open());
            let (socket, _) = pretended_kernel::socket();
            self.links.give_bus(&mut self.engine, 0, Some(socket));
            assert!(self.is_open());
        }

        fn is_open(&self) -> bool {
            self.links.wanted_bus(0).is_none()
        }

        fn ask(&mut self) -> Answers {
            self.links.questions().ask(&self.kernel)
        }

        fn note(&mut self, answers: Answers) {
            self.links.note_answers(&mut self.engine, answers);
        }
    }

    #[test]
    fn an_answer_that_is_older_than_the_last_closes_nothing() {
        let mut scene = Scene::start();
        let before = scene.ask();
        scene.kernel.replace_interface(2);
        let after = scene.ask();
        scene.note(after);
        scene.open_bus();
        scene.note(before);
        assert!(scene.is_open(), "it is of the interface that is there now");
        let again = scene.ask();
        scene.note(again);
        assert!(scene.is_open(), "which is still known");
    }

    #[test]
    fn two_answers_about_one_replacement_close_the_sockets_once() {
        let mut scene = Scene::start();
        let questions = [scene.links.questions(), scene.links.questions()];
        scene.kernel.replace_interface(2);
        let [first, second] = questions.map(|questions| questions.ask(&scene.kernel));
        scene.note(first);
        scene.open_bus();
        scene.note(second);
        assert!(scene.is_open());
    }

    #[test]
    fn what_became_of_an_earlier_interface_closes_nothing() {
        let mut scene = Scene::start();
        let [first, second] = [scene.links.questions(), scene.links.questions()];
        scene.kernel.replace_interface(2);
        let replaced = first.ask(&scene.kernel);
        scene.kernel.rename_interface(1);
        let renamed = second.ask(&scene.kernel);
        scene.note(replaced);
        scene.open_bus();
        scene.note(renamed);
        assert!(
            scene.is_open(),
            "it is the first one that has another name, and the sockets are the second one's"
        );
        scene.kernel.rename_interface(2);
        scene.links.check_buses(&mut scene.engine);
        assert!(!scene.is_open(), "now it is the second one");
    }

    #[test]
    fn an_interface_without_a_controller_is_not_asked_about_its_controller() {
        let mut scene = Scene::start();
        assert!(scene.links.questions_about_controllers().is_empty());
        assert!(!scene.links.questions().is_empty());
        scene.kernel.set_controller(ControllerState::ErrorActive);
        let answers = scene.ask();
        scene.note(answers);
        assert!(!scene.links.questions_about_controllers().is_empty());
    }
}
