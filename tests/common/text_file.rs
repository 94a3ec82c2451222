//! Files that go with their test.

use std::path::PathBuf;

use crate::program::unique_name;

/// A text file in the folder for temporary files.
pub struct TextFile(PathBuf);

impl TextFile {
    /// A new file with this text.
    pub fn new(text: &str) -> TextFile {
        let path = std::env::temp_dir().join(unique_name("canip-text-"));
        std::fs::write(&path, text).unwrap();
        TextFile(path)
    }
}

impl std::fmt::Display for TextFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Drop for TextFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}
