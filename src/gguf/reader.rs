//! A little-endian cursor over a prefix of a file. Knows how long the file is, so that it can tell "not here yet" from
//! "not there at all", and believes no length before comparing it with that.

use crate::{Error, Result};

/// Lengths above this are not the mark of a file cut short: nobody wrote them on purpose.
const MAX_PLAUSIBLE: u64 = 1 << 40;

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The prefix is too short: this many bytes are needed, and the file has them.
    Short(u64),
    /// The file is broken.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Result of a step of reading.
pub(super) type Step<T> = Result<T, Stop>;

pub(super) struct Reader<'a> {
    prefix: &'a [u8],
    file_size: u64,
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(prefix: &'a [u8], file_size: u64) -> Self {
        let len = prefix
            .len()
            .min(usize::try_from(file_size).unwrap_or(usize::MAX));
        Self {
            prefix: &prefix[..len],
            file_size,
            position: 0,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position as u64
    }

    /// The next `count` bytes without consuming them, fewer only where the file ends.
    pub(super) fn upcoming(&self, count: u64) -> Step<&'a [u8]> {
        let end = self.file_size.min(self.position() + count);
        let end = self.expect_here(end - self.position(), 1)?;
        Ok(&self.prefix[self.position..end])
    }

    /// Fails unless the file has room for `count` items of at least `min_bytes` each. Returns where they end.
    pub(super) fn expect_in_file(&self, count: u64, min_bytes: u64) -> Step<u64> {
        let bytes = count
            .checked_mul(min_bytes)
            .filter(|bytes| *bytes <= MAX_PLAUSIBLE);
        let Some(bytes) = bytes else {
            let reason = format!("a count of {count} at byte {} is impossible", self.position);
            return Err(Error::InvalidGguf(reason).into());
        };
        let needed = self.position() + bytes;
        if needed > self.file_size {
            return Err(Error::Truncated {
                needed,
                available: self.file_size,
            }
            .into());
        }
        Ok(needed)
    }

    /// As `expect_in_file`, and asks for more unless the bytes are here: what they hold may then be allocated.
    pub(super) fn expect_here(&self, count: u64, min_bytes: u64) -> Step<usize> {
        let needed = self.expect_in_file(count, min_bytes)?;
        match usize::try_from(needed) {
            Ok(end) if end <= self.prefix.len() => Ok(end),
            _ => Err(Stop::Short(needed)),
        }
    }

    pub(super) fn take(&mut self, count: u64) -> Step<&'a [u8]> {
        let end = self.expect_here(count, 1)?;
        let bytes = &self.prefix[self.position..end];
        self.position = end;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes = self.take(N as u64)?;
        bytes
            .try_into()
            .map_err(|_| Error::Internal("a short read".to_owned()).into())
    }

    pub(super) fn u32(&mut self) -> Step<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Step<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A key or a tensor's name: short, and UTF-8.
    pub(super) fn name(&mut self) -> Step<String> {
        let position = self.position;
        let len = self.u64()?;
        if len > super::MAX_NAME {
            return Err(
                Error::InvalidGguf(format!("a name of {len} bytes at byte {position}")).into(),
            );
        }
        let bytes = self.take(len)?;
        let name = std::str::from_utf8(bytes)
            .map_err(|_| Error::InvalidGguf(format!("the name at byte {position} is not UTF-8")))?;
        Ok(name.to_owned())
    }

    /// A string value. Some published vocabularies hold stray bytes, so what is not UTF-8 becomes U+FFFD.
    pub(super) fn text(&mut self) -> Step<String> {
        let len = self.u64()?;
        Ok(String::from_utf8_lossy(self.take(len)?).into_owned())
    }
}
