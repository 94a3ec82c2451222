//! What is held of every parser of outside bytes, whatever the bytes: a target is a name and a body that panics when
//! something does not hold. libFuzzer runs them (`tests/fuzz/targets`), and so does `cargo test` (`tests/fuzzing.rs`).

mod buses;
mod documents;
mod filters;
mod greeting;
mod notations;
mod records;
mod script;
mod sessions;
mod splits;

/// Runs a target's body.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of this name");
    body(bytes);
}

/// What takes bytes from outside.
pub type Body = fn(&[u8]);

/// All of them. Each has a folder of this name in `tests/fuzz/corpus`, and a file in `tests/fuzz/targets`.
pub const TARGETS: [(&str, Body); 13] = [
    ("greeting", greeting::greeting),
    ("frames_v4", records::frames_v4),
    ("records_v5", records::records_v5),
    ("session_server", sessions::server),
    ("session_client", sessions::client),
    ("session_splits", splits::splits),
    ("filter_lists", filters::lists),
    ("filter_expressions", filters::expressions),
    ("notations", notations::notations),
    ("log_files", notations::log_files),
    ("bus_packets", buses::packets),
    ("echoes", buses::echoes),
    ("documents", documents::documents),
];

/// What a user is told is one line, and nothing that a terminal would obey.
fn assert_one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
