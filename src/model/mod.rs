//! The one description of a transformer. Names no backend: [`decoder::build`] turns a [`ModelConfig`] into a
//! [`Plan`], the forward pass as data, which every backend interprets.

mod arch;
mod config;
mod decoder;
mod plan;
mod rope;

pub use arch::{Architecture, supported_architectures};
pub use config::{Activation, LayerConfig, ModelConfig};
pub use decoder::build;
pub use plan::{
    BufId, IdSource, KvSpec, NormKind, Op, Plan, RopeId, Step, WeightId, WeightKind, WeightSpec,
};
pub use rope::{Pairing, RopeSpec};
