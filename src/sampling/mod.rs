//! Sampling: from the logits of the last position to the next token.
//!
//! [`SamplingParams`] is what a request says, [`Sampler`] the chain of steps that carries it out,
//! [`StopMatcher`] watches the text for stop strings. The order of the steps is llama.cpp's default chain:
//! bias, penalties, top-k, top-p, min-p, temperature, draw; temperature 0 takes the best token after the penalties.

mod candidates;
mod params;
mod random;
mod sampler;
mod scan;
mod stop;

pub use params::SamplingParams;
pub use sampler::Sampler;
pub use stop::{StopMatcher, StopOutcome};
