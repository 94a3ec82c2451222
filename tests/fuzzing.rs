//! The bodies of the fuzz targets (`tests/fuzz`), run without a fuzzer: on every input of the committed corpus, and on some
//! thousand mutations of each target's, the same ones in every run.

#[path = "fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::path::{Path, PathBuf};

use bodies::TARGETS;

/// Mutated inputs of each target.
const MUTATIONS: usize = 3_000;

/// The longest input that is made.
const INPUT_BYTES_MAX: usize = 4_096;

/// What the committed corpus may take in all.
const CORPUS_BYTES_MAX: u64 = 300 * 1024;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Runs a body, and says which input it failed on.
fn check(target: &str, input: &[u8], name: &str) {
    if let Err(panic) = std::panic::catch_unwind(|| bodies::run(target, input)) {
        eprintln!("failed on {name}: {}", input.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

/// Changes an input a little, as libFuzzer does: bits, bytes, pieces left out, put in twice, or taken from another input.
fn mutate(input: &[u8], other: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut mutated = input.to_vec();
    for _ in 0..random.usize(1..=8) {
        let at = random.usize(0..=mutated.len());
        match random.u8(0..7) {
            0 => mutated.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << random.u8(0..8)),
            1 => mutated.get_mut(at).into_iter().for_each(|byte| *byte = random.u8(..)),
            2 => mutated
                .get_mut(at)
                .into_iter()
                .for_each(|byte| *byte = *random.choice(&[0, 1, 127, 128, 255]).unwrap()),
            3 => mutated.truncate(at),
            4 => mutated.insert(at, random.u8(..)),
            5 => {
                let end = (at + random.usize(0..32)).min(mutated.len());
                let piece = mutated[at..end].to_vec();
                mutated.splice(at..at, piece);
            }
            _ => {
                let from = random.usize(0..=other.len());
                let end = (from + random.usize(0..64)).min(other.len());
                mutated.splice(at..at, other[from..end].iter().copied());
            }
        }
    }
    mutated.truncate(INPUT_BYTES_MAX);
    mutated
}

/// One test a target, so that a failure names it and they run beside each other.
macro_rules! targets {
    ($($target:ident),+ $(,)?) => {
        const TESTED: &[&str] = &[$(stringify!($target)),+];
        $(#[test] fn $target() { run(stringify!($target)); })+
    };
}

targets!(
    greeting,
    frames_v4,
    records_v5,
    session_server,
    session_client,
    session_splits,
    filter_lists,
    filter_expressions,
    notations,
    log_files,
    bus_packets,
    echoes,
    documents,
);

fn run(target: &str) {
    let inputs = corpus(target);
    inputs.iter().for_each(|(path, input)| check(target, input, &path.display().to_string()));
    let mut random = fastrand::Rng::with_seed(0xCA9);
    for number in 0..MUTATIONS {
        let (_, input) = random.choice(&inputs).unwrap();
        let (_, other) = random.choice(&inputs).unwrap();
        let mutated = mutate(input, other, &mut random);
        check(target, &mutated, &format!("mutation {number}"));
    }
    // What is found is added to the corpus by hand, from what `tools/fuzz` leaves.
    check(target, &[], "nothing");
}

#[test]
fn every_target_is_tested_and_fuzzed_and_the_corpus_is_small() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, TESTED);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is in no [[bin]]");
        let target = fs::read_to_string(root.join(format!("targets/{name}.rs"))).unwrap();
        assert!(
            target.contains(&format!("bodies::run(\"{name}\", bytes)")),
            "targets/{name}.rs runs another body"
        );
    }
    let sizes = TARGETS.iter().flat_map(|(name, _)| corpus(name)).map(|(_, input)| input.len() as u64);
    let bytes: u64 = sizes.sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
}
