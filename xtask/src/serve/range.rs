//! The `Range` header.

/// What a request asks of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// No range, several ranges, or something that is no range: the whole file answers all of them.
    Everything,
    /// From the first byte to the last, both included.
    Part { first: u64, last: u64 },
    /// A range that the file does not have.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes.
pub fn parse(header: &str, size: u64) -> Wanted {
    let Some((first, last)) = header
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::Everything;
    };
    let (first, last) = (first.trim(), last.trim());
    let bounds = match (first.is_empty(), first.parse::<u64>(), last.parse::<u64>()) {
        (true, _, Ok(0)) => return Wanted::Unsatisfiable,
        (true, _, Ok(length)) => (size.saturating_sub(length), u64::MAX),
        (false, Ok(first), _) if last.is_empty() => (first, u64::MAX),
        (false, Ok(first), Ok(last)) if first <= last => (first, last),
        _ => return Wanted::Everything,
    };
    if bounds.0 >= size {
        return Wanted::Unsatisfiable;
    }
    Wanted::Part {
        first: bounds.0,
        last: bounds.1.min(size - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        let part = |first, last| Wanted::Part { first, last };
        for (header, wanted) in [
            ("bytes=0-9", part(0, 9)),
            ("bytes=90-", part(90, 99)),
            ("bytes=-10", part(90, 99)),
            ("bytes=-1000", part(0, 99)),
            ("bytes=50-1000", part(50, 99)),
            ("bytes=100-", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=9-0", Wanted::Everything),
            ("bytes=0-1,5-6", Wanted::Everything),
            ("items=0-1", Wanted::Everything),
            ("bytes=a-b", Wanted::Everything),
            ("bytes=-", Wanted::Everything),
        ] {
            assert_eq!(parse(header, 100), wanted, "{header}");
        }
        assert_eq!(parse("bytes=0-0", 0), Wanted::Unsatisfiable);
    }
}
