//! The one description of a transformer. Names no backend: [`decoder::build`] turns a [`ModelConfig`] into a
//! [`Plan`], the forward pass as data, which every backend interprets.

mod altup;
mod arch;
mod attention;
mod bases;
mod builder;
mod config;
mod decoder;
mod encoder_decoder;
mod feed_forward;
mod head;
mod keys;
mod latent;
mod per_layer;
mod plan;
mod read;
mod read_layers;
mod recurrent;
mod rope;
mod rwkv;
mod table;

pub use arch::{
    Architecture, ExpertRule, LocalRope, Scales, WindowPattern, supported_architectures,
};
pub use config::{
    Activation, ExpertConfig, LatentConfig, LayerConfig, Mixer, ModelConfig, StateConfig,
    StreamScales,
};
pub use decoder::build;
pub use plan::{
    BufId, Gating, IdSource, KvSpec, Mask, NormKind, Op, Plan, Pooling, RelativeBias,
    RelativeBuckets, RopeId, ScoreBias, StateId, Step, WeightId, WeightKind, WeightSpec,
};
pub use rope::{Pairing, RopeSpec};
pub use rwkv::MAX_WKV_HEAD;
