//! The program with its bind groups: what a step encodes.

use super::program::{Dispatch, FEW_TILES, Pass, Slot, When};
use super::{GpuBackend, KvCache, PARAMS_BYTES, PARAMS_STRIDE};

/// Bind groups of every dispatch. Those that show a session's cache live in the cache.
pub struct Replay {
    /// All dispatches: decode, chunk, choose, sample, encode.
    dispatches: Vec<Dispatch>,
    groups: Vec<Option<wgpu::BindGroup>>,
    params: wgpu::Buffer,
    /// Whether single tokens run the fused list.
    fused: bool,
    decode_end: usize,
    chunk_end: usize,
    choose_end: usize,
    sample_end: usize,
}

impl Replay {
    /// Makes all bind groups that do not depend on a session.
    pub fn new(backend: &GpuBackend) -> Self {
        let program = &backend.program;
        let lists = [
            &program.decode,
            &program.chunk,
            &program.choose,
            &program.sample,
            &program.encode,
        ];
        let dispatches: Vec<Dispatch> = lists.into_iter().flatten().cloned().collect();
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = backend
            .gpu
            .buffer("params", dispatches.len() as u64 * PARAMS_STRIDE, usage);
        for (i, dispatch) in dispatches.iter().enumerate() {
            backend.gpu.queue.write_buffer(
                &params,
                i as u64 * PARAMS_STRIDE,
                dispatch.params.bytes(),
            );
        }
        let mut replay = Self {
            fused: backend.fuses && !program.decode.is_empty(),
            decode_end: program.decode.len(),
            chunk_end: program.decode.len() + program.chunk.len(),
            choose_end: dispatches.len() - program.encode.len() - program.sample.len(),
            sample_end: dispatches.len() - program.encode.len(),
            groups: Vec::new(),
            dispatches,
            params,
        };
        replay.groups = replay.make_groups(backend, None);
        replay
    }

    /// Makes the bind groups that show `cache`.
    pub fn cache_groups(
        &self,
        backend: &GpuBackend,
        cache: &KvCache,
    ) -> Vec<Option<wgpu::BindGroup>> {
        self.make_groups(backend, Some(cache))
    }

    fn make_groups(
        &self,
        backend: &GpuBackend,
        cache: Option<&KvCache>,
    ) -> Vec<Option<wgpu::BindGroup>> {
        let make = |(i, dispatch): (usize, &Dispatch)| {
            let shows_cache = dispatch
                .slots
                .iter()
                .any(|slot| matches!(slot, Slot::Keys(_) | Slot::Values(_) | Slot::State(_)));
            (shows_cache == cache.is_some()).then(|| self.group(backend, cache, i, dispatch))
        };
        self.dispatches.iter().enumerate().map(make).collect()
    }

    fn group(
        &self,
        backend: &GpuBackend,
        cache: Option<&KvCache>,
        index: usize,
        dispatch: &Dispatch,
    ) -> wgpu::BindGroup {
        let params = wgpu::BufferBinding {
            buffer: &self.params,
            offset: index as u64 * PARAMS_STRIDE,
            size: wgpu::BufferSize::new(PARAMS_BYTES),
        };
        let resources = [
            backend.buffers.state.as_entire_binding(),
            wgpu::BindingResource::Buffer(params),
        ]
        .into_iter()
        .chain(
            dispatch
                .slots
                .iter()
                .map(|slot| backend.resource(*slot, cache)),
        );
        let entries: Vec<_> = resources
            .enumerate()
            .map(|(binding, resource)| wgpu::BindGroupEntry {
                binding: binding as u32,
                resource,
            })
            .collect();
        let layout = &backend.pipelines[dispatch.kernel].layout;
        backend.gpu.bind_group(&dispatch.label, layout, &entries)
    }

    /// Range of the dispatches for one token.
    pub fn decode(&self) -> std::ops::Range<usize> {
        if self.fused {
            self.fused()
        } else {
            self.chunk()
        }
    }

    /// Range of the fused dispatches.
    pub fn fused(&self) -> std::ops::Range<usize> {
        0..self.decode_end
    }

    /// Some dispatches.
    pub fn list(&self, range: std::ops::Range<usize>) -> &[Dispatch] {
        &self.dispatches[range]
    }

    /// The steps of the plan that a range goes through, each with its dispatches.
    pub fn steps(&self, range: std::ops::Range<usize>) -> Vec<(usize, std::ops::Range<usize>)> {
        let mut steps: Vec<(usize, std::ops::Range<usize>)> = Vec::new();
        for i in range {
            let step = self.dispatches[i].step;
            match steps.last_mut() {
                Some((last, range)) if *last == step => range.end = i + 1,
                _ => steps.push((step, i..i + 1)),
            }
        }
        steps
    }

    /// Runs single tokens as chunks from now on.
    pub fn leave_unfused(&mut self) {
        self.fused = false;
    }

    /// Range of the dispatches for a chunk.
    pub fn chunk(&self) -> std::ops::Range<usize> {
        self.decode_end..self.chunk_end
    }

    /// Range of the dispatches that choose the most likely token.
    pub fn choose(&self) -> std::ops::Range<usize> {
        self.chunk_end..self.choose_end
    }

    /// Range of the dispatches that draw a token.
    pub fn sample(&self) -> std::ops::Range<usize> {
        self.choose_end..self.sample_end
    }

    /// Range of the dispatches of the encoder.
    pub fn encode(&self) -> std::ops::Range<usize> {
        self.sample_end..self.dispatches.len()
    }

    /// Encodes what of a list runs in such a pass.
    pub fn record(
        &self,
        backend: &GpuBackend,
        compute: &mut wgpu::ComputePass<'_>,
        list: std::ops::Range<usize>,
        cache: &KvCache,
        pass: Pass,
    ) {
        let (tokens, rows) = (pass.tokens as u32, pass.rows as u32);
        let mut kernel = usize::MAX;
        for i in list {
            let dispatch = &self.dispatches[i];
            let skip = !dispatch.when.holds(pass, backend.program.split_from);
            let [mut x, y, z] = dispatch.grid.map(|extent| extent.of(tokens, rows));
            if pass.few_logits && dispatch.when == When::SeveralRows {
                x = x.min(FEW_TILES);
            }
            let group = self.groups[i]
                .as_ref()
                .or_else(|| cache.groups.get(i).and_then(Option::as_ref));
            let Some(group) = group.filter(|_| !skip && x * y * z > 0) else {
                continue;
            };
            if kernel != dispatch.kernel {
                kernel = dispatch.kernel;
                compute.set_pipeline(&backend.pipelines[kernel].pipeline);
            }
            compute.set_bind_group(0, group, &[]);
            compute.dispatch_workgroups(x, y, z);
        }
    }
}

impl GpuBackend {
    fn resource<'a>(&'a self, slot: Slot, cache: Option<&'a KvCache>) -> wgpu::BindingResource<'a> {
        let unused = || self.buffers.unused.as_entire_binding();
        match slot {
            Slot::Buffer(id) => self.buffers.activations[id.0].as_entire_binding(),
            Slot::Quants(matrix, part) => self.weights.matrices[matrix][part]
                .quants
                .as_entire_binding(),
            Slot::Scales(matrix, part) => self.weights.matrices[matrix][part]
                .scales
                .as_entire_binding(),
            Slot::Vector(index) => {
                let (first, len) = self.weights.layout.vectors[index];
                wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer: &self.weights.vectors,
                    offset: first as u64 * 4,
                    size: wgpu::BufferSize::new(len.next_multiple_of(4) as u64 * 4),
                })
            }
            Slot::Rotary(index) => self.buffers.rotary[index].as_entire_binding(),
            Slot::Keys(layer) => {
                cache.map_or_else(unused, |cache| cache.layers[layer].keys.as_entire_binding())
            }
            Slot::Values(layer) => cache.map_or_else(unused, |cache| {
                cache.layers[layer].values.as_entire_binding()
            }),
            Slot::State(state) => cache
                .and_then(|cache| cache.states.binding(state))
                .unwrap_or_else(unused),
            Slot::Parts => self.buffers.parts.as_entire_binding(),
            Slot::Packed => self.buffers.packed.as_entire_binding(),
            Slot::Sorted => self.buffers.sorted.as_entire_binding(),
            Slot::Candidates => self.buffers.candidates.as_entire_binding(),
            Slot::Ranked(turn) => self.buffers.ranked[turn].as_entire_binding(),
            Slot::Unused => unused(),
        }
    }
}
