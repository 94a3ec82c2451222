//! Runs of the test, and the reports they leave.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::program::{Finished, Program, unique_name};

/// A folder that is removed with what is in it.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("canip-bench-{}", unique_name("report")));
        std::fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    pub fn report(&self) -> Value {
        let text = std::fs::read(self.0.join("report.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that fails leaves it behind as it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Starts the test with arguments that are separated by white space.
pub fn start(arguments: &str) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canip_peer"));
    command.arg("bench").args(arguments.split_whitespace());
    Program::start(command)
}

/// Runs the test to its end, and gives the report.
pub fn run(arguments: &str) -> (Finished, Value) {
    let folder = Folder::new();
    let finished = start(&format!("--out {} {arguments}", folder.0.display())).finish();
    let report = folder.0.join("report.json");
    assert!(report.exists(), "no report: {:#?} {:#?}", finished.output, finished.errors);
    let report = folder.report();
    (finished, report)
}

/// What is counted of a direction of the first trial.
pub fn counts(report: &Value, direction: usize) -> [u64; 7] {
    let names = ["sent", "received", "lost", "duplicated", "reordered", "corrupted", "foreign"];
    names.map(|name| report["trials"][0]["directions"][direction]["counts"][name].as_u64().unwrap())
}

/// The numbers of the frames that the first trial lists with this fault.
pub fn faulty_numbers(report: &Value, what: &str) -> Vec<u64> {
    let faults = report["trials"][0]["directions"][0]["first_faults"].as_array();
    let faults = faults.map(Vec::as_slice).unwrap_or_default();
    faults
        .iter()
        .filter(|fault| fault["what"] == what)
        .map(|fault| fault["number"].as_u64().unwrap())
        .collect()
}
