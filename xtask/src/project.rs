//! Where things lie in the working tree.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The working tree that xtask was compiled from.
pub struct Project {
    root: PathBuf,
}

impl Project {
    pub fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask stands in no workspace")?;
        Ok(Self {
            root: root.to_path_buf(),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path given relative to the root of the working tree.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Notes that xtask keeps between runs; may be deleted at any time.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.root.join("target/xtask").join(name)
    }

    /// The model that the page is served with, as `models/default.json` names it.
    pub fn default_model(&self) -> Result<PathBuf> {
        let path = self.path("models/default.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let value: serde_json::Value = serde_json::from_str(&text)?;
        let file = value["file"]
            .as_str()
            .context("models/default.json: \"file\" is missing")?;
        Ok(self.path("models").join(file))
    }
}
