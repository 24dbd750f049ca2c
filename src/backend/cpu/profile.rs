//! Where the time of a pass goes, for `cargo xtask bench`.

use std::collections::BTreeMap;
use std::hint::black_box;

use serde::Serialize;
use web_time::Instant;

use super::CpuBackend;
use super::packed::PackedMatrix;
use super::weights::CpuWeight;
use crate::model::{Op, WeightId};

/// What one kind of operation has taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OpTime {
    /// The operation; a product with the type of its weights.
    pub name: String,
    /// How often it ran.
    pub count: usize,
    /// Seconds in all.
    pub seconds: f64,
    /// Bytes of weights that were read, each once a pass.
    pub bytes: f64,
}

/// Times since they were last asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    /// Slowest first.
    pub ops: Vec<OpTime>,
    /// Bytes a second of a plain read of the weights from one end to the other, in one thread.
    pub read_speed: f64,
}

/// Collects times while profiling.
#[derive(Default)]
pub(super) struct Clock {
    times: BTreeMap<String, OpTime>,
}

impl Clock {
    /// Notes that an operation has begun at `start` and ends now.
    pub(super) fn note(&mut self, name: String, bytes: usize, start: Instant) {
        let seconds = start.elapsed().as_secs_f64();
        let time = self.times.entry(name).or_insert_with_key(|name| OpTime {
            name: name.clone(),
            count: 0,
            seconds: 0.0,
            bytes: 0.0,
        });
        time.count += 1;
        time.seconds += seconds;
        time.bytes += bytes as f64;
    }
}

impl CpuBackend {
    /// Times of the operations since the last call; none at the first, which switches the clock on.
    pub fn profile(&mut self) -> Profile {
        let mut ops: Vec<OpTime> = match self.clock.replace(Clock::default()) {
            Some(clock) => clock.times.into_values().collect(),
            None => Vec::new(),
        };
        ops.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        Profile {
            ops,
            read_speed: self.read_speed(),
        }
    }

    fn read_speed(&self) -> f64 {
        let matrices = || {
            self.weights
                .iter()
                .flatten()
                .filter_map(|weight| match weight {
                    CpuWeight::Packed(matrix) => Some(matrix),
                    _ => None,
                })
        };
        let bytes: usize = matrices().map(PackedMatrix::bytes).sum();
        let seconds = (0..3).map(|_| {
            let start = Instant::now();
            matrices().for_each(|matrix| {
                black_box(matrix.read());
            });
            start.elapsed().as_secs_f64()
        });
        bytes as f64 / seconds.fold(f64::INFINITY, f64::min)
    }

    /// What an operation is called in a profile, and the bytes of its weights.
    pub(super) fn describe(&self, op: &Op) -> (String, usize) {
        let name = format!("{op:?}");
        let name = name.split([' ', '{', '(']).next().unwrap_or_default();
        match *op {
            Op::MatMul { weight, .. } | Op::MoeMatMul { weight, .. } => {
                self.describe_product(name, weight)
            }
            _ => (name.to_owned(), 0),
        }
    }

    fn describe_product(&self, name: &str, weight: WeightId) -> (String, usize) {
        match &self.weights[weight.0] {
            Some(CpuWeight::Packed(matrix)) => {
                (format!("{name} {}", matrix.dtype()), matrix.bytes())
            }
            Some(weight) => (name.to_owned(), weight.bytes()),
            None => (name.to_owned(), 0),
        }
    }
}
