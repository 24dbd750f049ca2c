//! Has anything changed since the last time?

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result};

/// Folders that hold results, never inputs.
const GENERATED: [&str; 4] = ["dist", "build", "node_modules", "target"];
/// Larger files are told apart by size and time, not by content.
const LARGE: u64 = 8 << 20;

/// A digest of the files that a result is made from.
pub struct Fingerprint(DefaultHasher);

impl Fingerprint {
    /// `recipe` stands for everything beside the files: tool versions, options.
    pub fn new(recipe: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        recipe.hash(&mut hasher);
        Self(hasher)
    }

    /// Adds a file or all files of a folder; one that is missing counts as such.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        path.hash(&mut self.0);
        let Ok(meta) = std::fs::metadata(path) else {
            return Ok(());
        };
        if meta.is_dir() {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(path)? {
                entries.push(entry?.path());
            }
            entries.sort();
            for entry in entries {
                let generated = entry
                    .file_name()
                    .is_some_and(|name| GENERATED.iter().any(|g| name == *g));
                if !generated {
                    self.add(&entry)?;
                }
            }
        } else if meta.len() > LARGE {
            meta.len().hash(&mut self.0);
            meta.modified()?
                .duration_since(UNIX_EPOCH)?
                .as_nanos()
                .hash(&mut self.0);
        } else {
            let content = std::fs::read(path).with_context(|| path.display().to_string())?;
            content.hash(&mut self.0);
        }
        Ok(())
    }

    /// Is this what `write` noted last?
    pub fn matches(&self, stamp: &Path) -> bool {
        std::fs::read_to_string(stamp).is_ok_and(|old| old == self.text())
    }

    /// Notes that the result is made.
    pub fn write(&self, stamp: &Path) -> Result<()> {
        if let Some(folder) = stamp.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(stamp, self.text()).with_context(|| stamp.display().to_string())
    }

    fn text(&self) -> String {
        format!("{:016x}\n", self.0.finish())
    }
}
