//! What a load test is told to do, as plain data.

use std::path::PathBuf;
use std::time::Duration;

use super::conditions::Condition;
use super::subject::SubjectChoice;
use super::trial::Directions;
use crate::load::Load;

/// A load test.
#[derive(Clone, Debug)]
pub struct Config {
    /// The command line, word by word, for the report.
    pub command: Vec<String>,
    /// What is measured.
    pub subject: SubjectChoice,
    /// What is sent into them.
    pub load: Load,
    /// Which way.
    pub directions: Directions,
    /// Frames of each direction, at most.
    pub frames_max: u64,
    /// What is measured of each trial.
    pub length: Duration,
    /// What comes before that, at the same load.
    pub warm_up: Duration,
    /// In which trials.
    pub method: MethodChoice,
    /// Given to both sides of our own bridge, or to our client.
    pub bridge_options: Vec<String>,
    /// When the test has failed.
    pub conditions: Vec<Condition>,
    /// Where the report goes.
    pub out: Option<PathBuf>,
}

/// How it is measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum MethodChoice {
    /// One trial.
    Trial,
    /// Trials at 10 % to 120 % of the load.
    Sweep,
    /// The highest rate without loss, to this part of it (0.01 is one percent).
    Throughput {
        /// The part.
        tolerance: f64,
    },
    /// The longest burst without loss.
    Burst {
        /// As above.
        tolerance: f64,
    },
    /// One trial, for long.
    Soak,
    /// Settings of our own bridge against each other, in so many turns.
    Tune {
        /// How many.
        rounds: u32,
    },
}
