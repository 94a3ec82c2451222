//! What is measured: a path between two buses, or a link to a server.

use std::fmt;

use tokio::runtime::Runtime;

use super::account;
use super::error::BenchError;
use super::link::{self, Link, Server};
use super::path::{Path, PathChoice};
use super::series::Series;
use super::trial::{self, Plan};
use super::watch::{Ending, Watch};
use crate::load::Load;
use crate::moment::WallTime;
use crate::report::document::{PathUnderTest, Trial};

/// What the user wants measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SubjectChoice {
    /// A path between two buses.
    Path(PathChoice),
    /// The link to a server, there and back.
    Link(Server),
}

/// What is measured.
pub enum Subject {
    /// Two buses, and what joins them.
    Path(Path),
    /// A bus, and a server that answers.
    Link(Link),
}

/// What came of a trial.
pub struct Done {
    pub ending: Ending,
    /// What ended it, if that was neither its time nor a signal.
    pub broken: Option<String>,
    /// When the first frame was due.
    pub started: WallTime,
    pub trial: Trial,
    pub ways: Vec<Way>,
    /// Of our own bridge, or client.
    pub engine: Option<String>,
    pub protocol: Option<String>,
}

/// The times of one direction.
pub struct Way {
    /// 0 is forward.
    pub direction: usize,
    pub series: Series,
}

impl Subject {
    /// Makes what it takes. Has to come before this process starts any thread: it may move to a network namespace of its own.
    ///
    /// # Errors
    /// A bus cannot be opened or made.
    pub fn open(choice: &SubjectChoice, load: &Load) -> Result<Self, BenchError> {
        match choice {
            SubjectChoice::Link(server) => Link::open(server, load).map(Self::Link),
            SubjectChoice::Path(choice) => Ok(Self::Path(Path::open(choice, load)?)),
        }
    }

    /// Its ends by name: where forward frames are sent into, and where they come out.
    pub fn names(&self) -> [&str; 2] {
        match self {
            Self::Path(path) => path.names(),
            Self::Link(link) => link.names(),
        }
    }

    /// The kind of bus, and why it is this one, in words.
    pub fn bus(&self) -> (&'static str, Option<&str>) {
        match self {
            Self::Path(path) => (path.kind_name(), path.reason.as_deref()),
            Self::Link(_) => ("software", None),
        }
    }

    /// Runs a trial.
    ///
    /// # Errors
    /// It could not be run, or was pointless.
    pub fn run(&self, plan: Plan, runtime: &Runtime, watch: &mut Watch) -> Result<Done, BenchError> {
        let path = match self {
            Self::Link(link) => return link::run(link, plan, runtime, watch),
            Self::Path(path) => path,
        };
        let outcome = trial::run(path, plan, runtime, watch)?;
        let trial = account::trial(path, &outcome);
        let ways = outcome.directions.into_iter();
        let ways = ways.map(|one| Way { direction: one.direction, series: one.received.series }).collect();
        let (engine, protocol) = (outcome.engine, outcome.protocol);
        Ok(Done {
            ending: outcome.ending,
            broken: outcome.broken,
            started: outcome.started,
            trial,
            ways,
            engine,
            protocol,
        })
    }

    /// Its part of the report, for bridges of this engine and protocol with these options.
    pub fn document(
        &self,
        (engine, protocol): (Option<String>, Option<String>),
        options: &[String],
    ) -> PathUnderTest {
        let kind = match self {
            Self::Path(path) if path.is_own => "own bridge",
            Self::Path(_) => "existing",
            Self::Link(_) => "link",
        };
        let [near, far] = self.names();
        let (bus, reason) = self.bus();
        PathUnderTest {
            kind: kind.to_owned(),
            bus: bus.to_owned(),
            bus_reason: reason.map(str::to_owned),
            near: near.to_owned(),
            far: far.to_owned(),
            engine,
            protocol,
            bridge_options: options.to_vec(),
        }
    }
}

/// `can0 to can1 (socketcan)`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([near, far], (bus, reason)) = (self.names(), self.bus());
        match (self, reason) {
            (Self::Link(_), _) => write!(f, "link to {far}, there and back"),
            (Self::Path(_), Some(reason)) => write!(f, "{near} to {far} ({bus}: {reason})"),
            (Self::Path(_), None) => write!(f, "{near} to {far} ({bus})"),
        }
    }
}
