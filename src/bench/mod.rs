//! The load test: what a path between two buses carries, and how late.
//!
//! ```text
//!  schedule ──► generator ──► near bus ──► path under test ──► far bus ──► receiver ──► verification
//!                   │                                                          ▲            histograms
//!                   └──────────────── what was sent, and when it was due ──────┘
//! ```
//!
//! The schedule does not wait for anything (open loop), and times count from when a frame was due. Generators and receivers
//! are threads of their own, one each for a direction; the bridge under test, if it is ours, runs in processes of its own,
//! as it would be deployed. Over a link to another machine each frame comes back by itself (`link`). A test that was too slow itself says so, and is no result ([`validity`]).

mod account;
mod clock;
mod conditions;
mod config;
mod end;
mod error;
mod generator;
mod host;
mod lab;
mod link;
mod live;
mod methods;
mod path;
mod priority;
pub mod process;
mod receiver;
mod sent;
mod series;
mod subject;
mod trial;
pub mod validity;
mod watch;

pub use conditions::Condition;
pub use config::{Config, MethodChoice};
pub use error::BenchError;
pub use link::Server;
pub use path::{PathChoice, PathError};
pub use subject::SubjectChoice;
pub use trial::Directions;

use self::lab::Lab;
use self::live::Live;
use self::methods::Answer;
use self::subject::Subject;
use self::watch::Watch;
use crate::bus::software;
use crate::engine;
use crate::report::IntervalHistograms;
use crate::report::document::{FORMAT, Method, Outcome, Report, VERSION};

/// Runs a load test. The process must not have started any thread yet.
///
/// # Errors
/// The test could not be made, or turned out to be pointless: see [`BenchError`].
pub fn run(config: &Config) -> Result<(Report, IntervalHistograms), BenchError> {
    // What the kernel copies meanwhile would be lateness of the bridge's.
    engine::memory::refuse_huge_pages();
    let subject = Subject::open(&config.subject, &config.load)?;
    let result = run_on(config, &subject);
    drop(subject);
    software::stop_hosting();
    result
}

fn run_on(config: &Config, subject: &Subject) -> Result<(Report, IntervalHistograms), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::system("set up the runtime"))?;
    let started = host::now();
    let mut live = Live::new();
    live.say(&format!("{subject}, {}", config.load.description()));
    let watch = runtime.block_on(async { Watch::new(live) })?;
    let mut lab = Lab::new(config, subject, &runtime, watch);
    let (method, answer) = match config.method {
        MethodChoice::Trial => (Method::Trial, methods::single(&mut lab)),
        MethodChoice::Soak => (Method::Soak, methods::single(&mut lab)),
        MethodChoice::Sweep => (Method::Sweep, methods::sweep(&mut lab)),
        MethodChoice::Throughput { tolerance } => {
            (Method::Throughput, methods::throughput(&mut lab, tolerance))
        }
        MethodChoice::Burst { tolerance } => (Method::Burst, methods::burst(&mut lab, tolerance)),
        MethodChoice::Tune { rounds } => (Method::Tune, methods::tune(&mut lab, rounds)),
    };
    let Answer { mut verdict, findings } = answer?;
    let violations = lab.violations(matches!(method, Method::Throughput | Method::Burst));
    if (!violations.is_empty() && verdict.result == Outcome::Pass) || lab.is_broken() {
        verdict.result = Outcome::Fail;
    }
    verdict.reasons.splice(0..0, violations);
    verdict.reasons.splice(0..0, lab.remarks());
    if let Some(reason) = validity::build_is_slow() {
        verdict.reasons.insert(0, reason.to_owned());
        if verdict.result != Outcome::Interrupted {
            verdict.result = Outcome::Invalid;
        }
    }
    let path = subject.document(lab.bridge.clone(), &config.bridge_options);
    let (trials, intervals) = lab.into_results();
    let report = Report {
        format: FORMAT.to_owned(),
        version: VERSION,
        command: config.command.clone(),
        started,
        program: host::program(),
        host: host::host(),
        path,
        method,
        verdict,
        trials,
        findings,
    };
    Ok((report, intervals))
}
