//! Holds the layers that `src/lib.rs` draws: an import that points upward or sideways, a clock in the protocol, unsafe
//! code outside of its two modules, or `clap` below the command line fails here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A source file: its path below `src`, and its text without comments.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 50, "the sources are where they were");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let path = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        Source { path, code: code.join("\n") }
    };
    files.into_iter().map(read).collect()
}

/// The layer of each module, from the table in the crate documentation.
fn layers() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let row = |line: &str| {
        let mut cells = line.strip_prefix("//! | ")?.split(" | ");
        let layer = cells.next()?.parse().ok()?;
        let module = cells.next()?.strip_prefix("[`")?.split('`').next()?.to_owned();
        Some((module, layer))
    };
    text.lines().filter_map(row).collect()
}

/// The modules of this crate that a piece of code names: every `crate::module`, also in braces.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find(';').unwrap_or(list.len())];
                found.extend(list.split(',').map(first_word));
            }
            None => found.push(first_word(rest)),
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect()
}

/// The top-level module of a file.
fn module_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap();
    first.strip_suffix(".rs").unwrap_or(first)
}

#[test]
fn imports_point_down_only() {
    let layers = layers();
    let mut wrong = Vec::new();
    for Source { path, code } in sources() {
        let module = module_of(&path);
        if matches!(module, "main" | "lib") {
            continue;
        }
        let own = layers.get(module).unwrap_or_else(|| panic!("src/lib.rs gives no layer to {module}"));
        for import in imports(&code) {
            let Some(layer) = layers.get(&import) else { continue };
            if import != module && layer >= own {
                wrong.push(format!("{path} (layer {own}) uses crate::{import} (layer {layer})"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports that do not point down:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_has_a_layer() {
    let layers = layers();
    for Source { path, .. } in sources() {
        let module = module_of(&path);
        assert!(
            matches!(module, "main" | "lib") || layers.contains_key(module),
            "{module} is not in src/lib.rs"
        );
    }
}

#[test]
fn each_seam_holds() {
    // Words that would break a module's promise not to know something.
    let forbidden: [(&[&str], &[&str]); 4] = [
        // No protocol, frame or filter reads a clock, logs, or owns a descriptor.
        (
            &["frame", "wire", "session", "buffer", "moment", "metrics", "load", "verification"],
            &[
                "Instant",
                "SystemTime",
                "std::os::fd",
                "tokio",
                "tracing",
                "socket2",
                "std::net",
                "std::fs",
                "unsafe",
            ],
        ),
        // An engine moves bytes.
        (&["engine"], &["session", "wire", "Image::parse", "Identifier::", "tokio"]),
        // Configuration is plain data.
        (
            &["config", "bench", "bridge", "session", "engine", "bus", "record", "report", "wire", "frame"],
            &["clap"],
        ),
        // Unsafe code has two homes.
        (&["bench", "bridge", "cli", "config", "record", "report", "main", "lib"], &["unsafe"]),
    ];
    let mut wrong = Vec::new();
    for Source { path, code } in sources() {
        let in_tests = path.contains("tests");
        let code = code.split("#[cfg(test)]\nmod ").next().unwrap();
        for (modules, words) in &forbidden {
            if modules.contains(&module_of(&path)) && !in_tests {
                let found = words.iter().filter(|word| contains_word(code, word));
                wrong.extend(found.map(|word| format!("{path} knows {word}")));
            }
        }
    }
    assert!(wrong.is_empty(), "seams crossed:\n{}", wrong.join("\n"));
}

/// Whether a word stands in the code by itself, not within another.
fn contains_word(code: &str, word: &str) -> bool {
    let part_of_word =
        |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(word).any(|(at, _)| {
        !part_of_word(code[..at].chars().next_back()) && !part_of_word(code[at + word.len()..].chars().next())
    })
}

#[test]
fn the_judge_itself() {
    assert_eq!(
        imports("use crate::{bus::open, frame::Image};\ncrate::wire::v4::Layout"),
        ["bus", "frame", "wire"]
    );
    assert!(contains_word("let a = Instant::now()", "Instant"));
    assert!(!contains_word("InstantOn", "Instant"));
    assert_eq!(layers().get("moment"), Some(&0));
    assert_eq!(layers().len(), 17);
}
