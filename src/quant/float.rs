//! Formats without blocks: F32, F16, BF16.

use half::{bf16, f16};

/// A float as it stands in the file, little-endian, without alignment.
pub(super) trait Float: Sized {
    /// Reads `out.len()` numbers.
    fn read_all(bytes: &[u8], out: &mut [f32]);
    /// Appends all numbers, rounded to the nearest.
    fn write_all(values: &[f32], out: &mut Vec<u8>);
}

macro_rules! float {
    ($type:ty, $to_f32:expr, $from_f32:expr) => {
        impl Float for $type {
            fn read_all(bytes: &[u8], out: &mut [f32]) {
                let (numbers, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                for (w, bytes) in out.iter_mut().zip(numbers) {
                    *w = $to_f32(<$type>::from_le_bytes(*bytes));
                }
            }

            fn write_all(values: &[f32], out: &mut Vec<u8>) {
                out.extend(values.iter().flat_map(|v| $from_f32(*v).to_le_bytes()));
            }
        }
    };
}

float!(f32, std::convert::identity, std::convert::identity::<f32>);
float!(f16, f16::to_f32, f16::from_f32);
float!(bf16, bf16::to_f32, bf16::from_f32);
