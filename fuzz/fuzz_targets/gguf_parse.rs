//! Any bytes as a GGUF file: no panic, no memory beyond a small multiple of the input (libFuzzer's `-malloc_limit_mb`),
//! tensors inside the file, and the same answer from a prefix.

#![no_main]

use inkling::gguf::{self, GgufFile, Parsed};
use inkling::quant;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let size = bytes.len() as u64;
    let whole = gguf::parse(bytes, size);
    let cut = usize::from(cut).min(bytes.len());
    match gguf::parse(&bytes[..cut], size) {
        Ok(Parsed::NeedMore(n)) => assert!(n > cut as u64 && n <= size),
        other => assert_eq!(format!("{other:?}"), format!("{whole:?}")),
    }
    if let Ok(Parsed::Done(file)) = whole {
        dequantize_all(&file, bytes);
        let _ = GgufFile::join(vec![file]);
    }
});

/// The bytes of any tensor that is announced can be read.
fn dequantize_all(file: &GgufFile, bytes: &[u8]) {
    for tensor in &file.tensors {
        let data = &bytes[tensor.offset as usize..][..tensor.bytes as usize];
        let mut weights = vec![0.0; tensor.elements() as usize];
        quant::dequantize(tensor.dtype, data, &mut weights).expect("the sizes were checked");
    }
}
