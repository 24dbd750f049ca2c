//! Files that nobody wrote on purpose, or somebody did: whatever the bytes, parsing neither panics nor takes more memory
//! than a small multiple of what it was given, and it answers the same however the bytes arrive.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

#[allow(dead_code)] // each test uses its part
mod gguf_support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

use gguf_support::{ARRAY, Builder, STRING, array, string};
use inkling::gguf::{self, GgufFile, Parsed};
use proptest::prelude::*;

thread_local! {
    static CURRENT: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator with a count per thread.
struct Counting;

impl Counting {
    fn grow(bytes: usize) {
        let current = CURRENT.get() + bytes;
        CURRENT.set(current);
        PEAK.set(PEAK.get().max(current));
    }

    fn shrink(bytes: usize) {
        CURRENT.set(CURRENT.get().saturating_sub(bytes));
    }
}

// SAFETY: every call goes unchanged to the system's allocator; the counters are thread-locals without destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::shrink(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory that parsing may take at its peak. The worst files are all tiny keys: 14 bytes each, of which the map makes some
/// hundred and fifty.
fn allowed(prefix: usize) -> usize {
    4096 + 16 * prefix
}

/// Parses, and checks the peak of memory.
fn parse_counted(prefix: &[u8], file_size: u64) -> Result<Parsed, inkling::Error> {
    let before = CURRENT.get();
    PEAK.set(before);
    let outcome = gguf::parse(prefix, file_size);
    let peak = PEAK.get() - before;
    assert!(
        peak <= allowed(prefix.len()),
        "{peak} bytes for a prefix of {}",
        prefix.len()
    );
    outcome
}

/// What must hold for any bytes.
fn check(bytes: &[u8], cut: usize) {
    let size = bytes.len() as u64;
    let whole = parse_counted(bytes, size);
    let prefix = parse_counted(&bytes[..cut], size);
    match &whole {
        Ok(Parsed::Done(file)) => check_ranges(file),
        Ok(Parsed::NeedMore(n)) => panic!("the whole file is there, {n} bytes were asked for"),
        Err(error) => assert!(!matches!(error, inkling::Error::Internal(_)), "{error}"),
    }
    match &prefix {
        Ok(Parsed::NeedMore(n)) => assert!(*n > cut as u64 && *n <= size),
        // As text, because a NaN in the metadata is not equal to itself.
        done => assert_eq!(format!("{done:?}"), format!("{whole:?}")),
    }
    if let Ok(Parsed::Done(file)) = whole {
        let _ = file.split_count();
        let _ = GgufFile::join(vec![file]);
    }
}

fn check_ranges(file: &GgufFile) {
    for tensor in &file.tensors {
        assert!(tensor.offset >= file.data_offset && tensor.offset.is_multiple_of(file.alignment));
        assert!(tensor.offset.checked_add(tensor.bytes).unwrap() <= file.file_size);
        assert!(tensor.elements() > 0 && !tensor.shape.is_empty());
        assert!(file.tensor(&tensor.name).is_some());
    }
}

/// Real files, small enough to go through thousands of times.
fn seeds() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let real = [
        "models/container-split-00003-of-00003.gguf",
        "models/container-align64.gguf",
        "tokenizers/tok-ugm.gguf",
    ];
    let mut seeds: Vec<_> = real
        .iter()
        .map(|name| std::fs::read(root.join(name)).unwrap())
        .collect();
    let numbers = array(
        ARRAY,
        2,
        &[array(4, 1, &[1, 2, 3, 4]), array(STRING, 1, &string("x"))].concat(),
    );
    let small = Builder::new()
        .u32("general.alignment", 64)
        .key("nested", ARRAY, &numbers);
    seeds.push(
        small
            .tensor("a", &[32, 2], 2, 0)
            .tensor("b", &[4], 0, 64)
            .data(128)
            .build(),
    );
    seeds
}

#[derive(Debug, Clone)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Word(prop::sample::Index, u64),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let edges = prop::sample::select(vec![
        0,
        1,
        12,
        13,
        255,
        1 << 16,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 63,
        u64::MAX,
    ]);
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        3 => (any::<prop::sample::Index>(), edges).prop_map(|(at, word)| Damage::Word(at, word)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => (any::<prop::sample::Index>(), 1_usize..64).prop_map(|(at, len)| Damage::Repeat(at, len)),
    ]
}

impl Damage {
    /// Does its harm somewhere in the first `reach` bytes.
    fn apply(&self, bytes: &mut Vec<u8>, reach: usize) {
        let reach = reach.min(bytes.len());
        if reach < 9 {
            return;
        }
        match self {
            Self::Byte(at, byte) => bytes[at.index(reach)] = *byte,
            Self::Word(at, word) => {
                let at = at.index(reach - 8);
                bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Repeat(at, len) => {
                let at = at.index(reach);
                let piece = bytes[at..(at + len).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_refused_politely(
        seed in 0_usize..4,
        harm in prop::collection::vec(damage(), 1..6),
        early in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = seeds().swap_remove(seed);
        bytes.truncate(20_000); // the header, and a little data
        let reach = if early { 600 } else { bytes.len() };
        harm.iter().for_each(|harm| harm.apply(&mut bytes, reach));
        let cut = cut.index(bytes.len() + 1);
        check(&bytes, cut);
    }

    #[test]
    fn noise_is_refused_politely(bytes in prop::collection::vec(any::<u8>(), 0..12), cut in any::<prop::sample::Index>()) {
        check(&bytes, cut.index(bytes.len() + 1));
    }

    #[test]
    fn noise_after_the_magic_is_refused_politely(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        counts in prop::array::uniform2(0_u64..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let counts = counts.map(u64::to_le_bytes).concat();
        let bytes = [&b"GGUF\x03\0\0\0"[..], &counts, &noise].concat();
        check(&bytes, cut.index(bytes.len() + 1));
    }
}

#[test]
fn the_most_wasteful_files_stay_within_the_limit() {
    let keys = (0..50_000_u32).fold(Builder::new(), |file, i| {
        file.key(&format!("{i:x}"), 0, &[1])
    });
    let tensors = (0..20_000_u32)
        .fold(Builder::new(), |file, i| {
            file.tensor(&format!("{i:x}"), &[], 0, 0)
        })
        .data(32);
    let strings = Builder::new().key("k", ARRAY, &array(STRING, 100_000, &[0; 800_000]));
    let arrays = Builder::new().key("k", ARRAY, &array(ARRAY, 100_000, &[0; 1_200_000]));
    for (what, file) in [
        ("keys", keys),
        ("tensors", tensors),
        ("strings", strings),
        ("arrays", arrays),
    ] {
        let bytes = file.build();
        let before = CURRENT.get();
        let outcome = parse_counted(&bytes, bytes.len() as u64);
        assert!(
            matches!(outcome, Ok(Parsed::Done(_))),
            "{what}: {outcome:?}"
        );
        println!(
            "{what}: {:.1} bytes of memory per byte",
            (PEAK.get() - before) as f64 / bytes.len() as f64
        );
    }
}

#[test]
fn announced_sizes_cost_nothing() {
    // The file claims to be huge, so no length is out of range; only the prefix is there.
    for count in [1 << 20, 1 << 33, 1 << 36] {
        let file = Builder::new()
            .key("k", ARRAY, &array(STRING, count, &[]))
            .build();
        let outcome = parse_counted(&file[..file.len().min(60)], 1 << 42).unwrap();
        assert!(matches!(outcome, Parsed::NeedMore(_)), "{outcome:?}");
    }
}
