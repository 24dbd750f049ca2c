//! Models in files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use inkling::Error;
use inkling::engine::{Engine, LoadOptions, WeightSource};
use pollster::block_on;
use serde_json::Value;

/// A file read by ranges, as the page reads one.
struct FileSource {
    file: File,
    size: u64,
}

impl FileSource {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

impl WeightSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read(&self, offset: u64, len: usize) -> inkling::Result<Vec<u8>> {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = &self.file;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = vec![0; len];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| Error::Source(error.to_string()))
    }
}

/// The files of a model: one, or all shards when the name is that of a split file's first.
fn shards(first: &Path) -> Vec<PathBuf> {
    let name = first.file_name().unwrap_or_default().to_string_lossy();
    let count = name
        .strip_suffix(".gguf")
        .and_then(|stem| stem.split_once("-00001-of-"))
        .and_then(|(stem, count)| Some((stem, count, count.parse::<u32>().ok()?)));
    match count {
        Some((stem, text, count)) => (1..=count)
            .map(|n| first.with_file_name(format!("{stem}-{n:05}-of-{text}.gguf")))
            .collect(),
        None => vec![first.to_path_buf()],
    }
}

/// Loads a model with options as the wasm exports take them.
pub fn load(path: &Path, options: Value) -> Result<Engine> {
    let options: LoadOptions = serde_json::from_value(options)?;
    let mut sources = Vec::new();
    for shard in shards(path) {
        sources.push(FileSource::open(&shard)?);
    }
    Ok(block_on(Engine::load(sources, &options, |_| true))?)
}

/// Token ids of a JSON array.
pub fn tokens(value: &Value) -> Result<Vec<u32>> {
    let array = value
        .as_array()
        .context("an array of token ids is missing")?;
    let ids = array.iter().map(|id| u32::try_from(id.as_u64()?).ok());
    ids.collect::<Option<_>>().context("a token id is no id")
}
