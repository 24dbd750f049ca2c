//! Everything but matrix products, over the vectors of [`simd`](super::simd).
//!
//! Plain functions on slices; shapes are given with each. `reference` holds the same operations as plain loops in f64,
//! which these are tested against.

mod activation;
mod attention;
mod causal_conv;
mod delta_net;
mod norm;
mod rope;
mod selective_scan;
mod state_scan;
mod streams;
mod vector;
mod wkv;

pub use activation::{activate, exp, gated, soft_cap, softplus};
pub use attention::{
    AttentionShape, Cached, CachedBytes, DistanceBias, Scratch, attention, attention_bytes,
};
pub use causal_conv::causal_conv;
pub use delta_net::DeltaNet;
pub use norm::{layer_norm, rms_norm};
pub use rope::{rope_adjacent, rope_halves};
pub use selective_scan::SelectiveScan;
pub use state_scan::{ScanShape, StateScan};
pub use streams::{join_streams, mix_streams, sparsify};
pub use vector::{add, axpy, copy, dot, load_f16, scale, softmax, store_f16};
pub use wkv::{WKV_STEP, wkv7};
