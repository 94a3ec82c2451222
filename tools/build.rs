//! Tells the program which commit it was built from, for the reports of load tests. Where there is no git, it tells none.

use std::process::Command;

fn main() {
    // With a commit or a change of branch the answer changes; what is not committed yet is told by `-dirty` when these do.
    for place in ["HEAD", "index"] {
        if let Some(path) = git(&["rev-parse", "--git-path", place]) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    println!("cargo:rerun-if-changed=tools/build.rs");
    if let Some(commit) = git(&["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]) {
        println!("cargo:rustc-env=CANIP_COMMIT={commit}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
