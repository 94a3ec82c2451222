//! A test that cannot run on every machine says so where it does not.

use std::io::Write;

/// Says what is not tested, and why. Where the environment variable of this name is 1, the test fails instead.
pub fn skip(what: &str, required_by: Option<&str>) {
    // Not println, whose output the harness keeps to itself when a test passes.
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
    if let Some(variable) = required_by {
        assert!(std::env::var(variable).as_deref() != Ok("1"), "{variable}=1, and {what}");
    }
}
