//! Operations on several residual streams side by side.

use std::mem::take;

use super::{CpuBackend, Precision, ops, reference};
use crate::model::Op;

impl CpuBackend {
    /// Runs one of these operations.
    pub(super) fn streams(&mut self, op: &Op, rows: usize) {
        let fast = self.options.precision == Precision::Fast;
        let width_of = |id: crate::model::BufId| self.plan.buffers[id.0];
        match *op {
            Op::MixStreams {
                x,
                y,
                coefs,
                plus,
                first,
                width,
            } => {
                let mix = if fast {
                    ops::mix_streams
                } else {
                    reference::mix_streams
                };
                let mut values = take(&mut self.buffers[x.0]);
                let inputs = self.buffers[y.0].chunks_exact(width_of(y));
                let runs = values.chunks_exact_mut(width_of(x)).zip(inputs);
                for (t, (x, y)) in runs.take(rows).enumerate() {
                    let coefs = coefs.map(|id| {
                        let count = width_of(id);
                        &self.buffers[id.0][t * count..][..count]
                    });
                    mix(x, y, coefs, plus, first, width);
                }
                self.put(x, values);
            }
            Op::JoinStreams { first, rest, out } => {
                let join = if fast {
                    ops::join_streams
                } else {
                    reference::join_streams
                };
                let mut values = take(&mut self.buffers[out.0]);
                values.resize(rows * width_of(out), 0.0);
                let firsts = self.buffers[first.0].chunks_exact(width_of(first));
                let rests = self.buffers[rest.0].chunks_exact(width_of(rest));
                let outs = values.chunks_exact_mut(width_of(out));
                for ((first, rest), out) in firsts.zip(rests).zip(outs) {
                    join(first, rest, out);
                }
                self.put(out, values);
            }
            Op::Sparsify { x, factor } => {
                let sparsify = if fast {
                    ops::sparsify
                } else {
                    reference::sparsify
                };
                let mut values = take(&mut self.buffers[x.0]);
                for row in values.chunks_exact_mut(width_of(x)).take(rows) {
                    sparsify(row, factor);
                }
                self.put(x, values);
            }
            _ => {}
        }
    }
}
