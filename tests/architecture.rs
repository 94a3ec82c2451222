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

/// Modules of the protocol: none of them reads a clock, logs, or owns a descriptor.
const PROTOCOL: [&str; 8] =
    ["frame", "wire", "session", "buffer", "moment", "metrics", "load", "verification"];

/// Words that would break a module's promise not to know something.
fn forbidden(module: &str) -> Vec<&'static str> {
    let mut words = Vec::new();
    if PROTOCOL.contains(&module) {
        words.extend([
            "Instant",
            "SystemTime",
            "std::os::fd",
            "tokio",
            "tracing",
            "socket2",
            "std::net",
            "std::fs",
        ]);
    }
    // An engine moves bytes.
    if module == "engine" {
        words.extend(["session", "wire", "Image::parse", "Identifier::", "tokio"]);
    }
    // Unsafe code has two homes, and arguments one.
    if !matches!(module, "engine" | "bus") {
        words.push("unsafe");
    }
    if module != "cli" {
        words.push("clap");
    }
    words
}

/// A file without the tests in it: these may do what the rest may not.
fn without_tests(code: &str) -> &str {
    const TESTS: &str = "#[cfg(test)]\nmod ";
    let inline = code.match_indices(TESTS).find(|(at, _)| {
        let name = code[at + TESTS.len()..].lines().next().unwrap_or_default();
        name.ends_with('{')
    });
    inline.map_or(code, |(at, _)| &code[..at])
}

#[test]
fn each_seam_holds() {
    let mut wrong = Vec::new();
    let (mut read, mut all) = (0, 0);
    for Source { path, code } in sources() {
        if path.contains("tests") {
            continue;
        }
        let looked_at = without_tests(&code);
        (read, all) = (read + looked_at.len(), all + code.len());
        let known = forbidden(module_of(&path)).into_iter().filter(|word| contains_word(looked_at, word));
        wrong.extend(known.map(|word| format!("{path} knows {word}")));
    }
    assert!(wrong.is_empty(), "seams crossed:\n{}", wrong.join("\n"));
    assert!(read > all * 3 / 4, "most code is looked at: {read} of {all} bytes");
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
    assert_eq!(
        without_tests("#[cfg(test)]\nmod a;\nfn b() {}\n#[cfg(test)]\nmod tests {\n}"),
        "#[cfg(test)]\nmod a;\nfn b() {}\n"
    );
}
