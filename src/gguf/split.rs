//! Models split into several files, as `gguf-split` of llama.cpp writes them: each shard is a whole GGUF with its share of
//! the tensors and the keys `split.no`, `split.count`, `split.tensors.count`; the first one has all other metadata too.

use super::tensor::sorted_by_name;
use super::{GgufFile, Parsed, parse};
use crate::{Error, Result};

const COUNT: &str = "split.count";
const NUMBER: &str = "split.no";
const TENSORS: &str = "split.tensors.count";

/// The headers of a model's files while their first bytes come in, in any order.
#[derive(Debug, Default)]
pub struct Headers {
    /// By the number of the file; absent until it is whole.
    files: Vec<Option<GgufFile>>,
}

impl Headers {
    /// For so many files.
    pub fn new(files: usize) -> Self {
        Self {
            files: vec![None; files],
        }
    }

    /// Reads the header of a file of `file_size` bytes from its first bytes, unless that was done before. Returns how many
    /// bytes it takes where these are too few, as [`Parsed::NeedMore`].
    ///
    /// # Errors
    /// Those of [`parse`], [`Error::WrongParts`] for a file that is none of the model's.
    pub fn read(&mut self, file: usize, prefix: &[u8], file_size: u64) -> Result<Option<u64>> {
        match self.files.get_mut(file) {
            None => Err(Error::WrongParts(format!("there is no file {file}"))),
            Some(Some(_)) => Ok(None),
            Some(header) => match parse(prefix, file_size)? {
                Parsed::NeedMore(bytes) => Ok(Some(bytes)),
                Parsed::Done(whole) => {
                    *header = Some(whole);
                    Ok(None)
                }
            },
        }
    }

    /// Joins them; gives none, and keeps them, when one is still missing.
    ///
    /// # Errors
    /// Those of [`GgufFile::join`].
    pub fn join(&mut self) -> Result<Option<GgufFile>> {
        if self.files.iter().any(Option::is_none) {
            return Ok(None);
        }
        GgufFile::join(self.files.drain(..).flatten().collect()).map(Some)
    }
}

impl GgufFile {
    /// In how many files the model comes; 1 if it is not split.
    pub fn split_count(&self) -> Result<usize> {
        let count = self.metadata.opt_u64(COUNT)?.unwrap_or(1).max(1);
        usize::try_from(count).map_err(|_| Error::BadMetadata {
            key: COUNT.to_owned(),
            reason: format!("{count} files are too many"),
        })
    }

    /// Joins all shards of a model, given in any order. [`TensorInfo::shard`](super::TensorInfo::shard) becomes the index
    /// into `shards` as given here.
    pub fn join(mut shards: Vec<Self>) -> Result<Self> {
        let Some(first) = find_first(&shards)? else {
            return Err(Error::WrongParts(
                "none of the given files is the first of a split model".to_owned(),
            ));
        };
        check_complete(&shards)?;
        let mut tensors = Vec::with_capacity(shards.iter().map(|shard| shard.tensors.len()).sum());
        for (index, shard) in shards.iter_mut().enumerate() {
            tensors.extend(shard.tensors.drain(..).map(|mut tensor| {
                tensor.shard = index;
                tensor
            }));
        }
        let file_size = shards.iter().map(|shard| shard.file_size).sum();
        let head = shards.swap_remove(first);
        if let Some(expected) = head.metadata.opt_u64(TENSORS)?
            && expected != tensors.len() as u64
        {
            let reason = format!(
                "{expected} tensors were announced, the files have {}",
                tensors.len()
            );
            return Err(Error::BadMetadata {
                key: TENSORS.to_owned(),
                reason,
            });
        }
        Ok(Self {
            by_name: sorted_by_name(&tensors)?,
            tensors,
            file_size,
            ..head
        })
    }

    /// Which shard this is, from 0.
    fn split_number(&self) -> Result<u64> {
        Ok(self.metadata.opt_u64(NUMBER)?.unwrap_or(0))
    }
}

fn find_first(shards: &[GgufFile]) -> Result<Option<usize>> {
    for (index, shard) in shards.iter().enumerate() {
        if shard.split_number()? == 0 {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Each shard must be there once, and all must tell the same count.
fn check_complete(shards: &[GgufFile]) -> Result<()> {
    let mut seen = vec![false; shards.len()];
    for shard in shards {
        let count = shard.split_count()?;
        if count != shards.len() {
            let given = shards.len();
            return Err(Error::WrongParts(match count {
                1 => format!("{given} files were given but one of them is a whole model"),
                _ => format!("the model is split into {count} files but {given} were given"),
            }));
        }
        let number = shard.split_number()?;
        match usize::try_from(number)
            .ok()
            .and_then(|number| seen.get_mut(number))
        {
            Some(seen) if !*seen => *seen = true,
            Some(_) => {
                return Err(Error::WrongParts(format!(
                    "part {} of the model was given twice",
                    number + 1
                )));
            }
            None => {
                let reason = format!("part {number} of {count} is impossible (parts count from 0)");
                return Err(Error::BadMetadata {
                    key: NUMBER.to_owned(),
                    reason,
                });
            }
        }
    }
    Ok(())
}
