//! Planes that the GPU makes of blocks, against those that the CPU makes of the same.

use super::super::format::{Format, Planes, UNIT};
use super::super::kernel::{BlockTypes, Kernel, Reduce};
use super::super::readback::Staging;
use super::super::repack::Repack;
use super::super::uploads::{STAGE_BYTES, To, Uploads};
use super::super::weights::PartBuffers;
use super::*;
use crate::Error;

/// Types that the kernel knows.
fn dtypes() -> Vec<DType> {
    BlockTypes::of(DType::ALL.iter().copied()).iter().collect()
}

/// Where the f16 numbers of a block stand.
fn halves(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        DType::MXFP4 | DType::NVFP4 => &[],
        _ => &[0],
    }
}

/// Blocks with any bits; their f16 numbers are below 1, so that no scale is beyond f16, and often subnormal or zero.
fn blocks(dtype: DType, count: usize) -> Vec<u8> {
    let mut state = u64::from(dtype.ggml_id()) + 1;
    let mut random = || {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(99);
        (state >> 33) as u32
    };
    let bytes = count * dtype.block_bytes();
    let mut bytes: Vec<u8> = (0..bytes).map(|_| random() as u8).collect();
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        for at in halves(dtype) {
            let (bits, exponent) = (random() & 0x83FF, random() % 20);
            let half = (bits | (exponent % 15) << 10) & !(0x3FF * u32::from(exponent == 19));
            block[*at..at + 2].copy_from_slice(&(half as u16).to_le_bytes());
        }
    }
    bytes
}

/// A ring for blocks of a type, and room for so many bytes of them.
struct Ring<'a> {
    gpu: &'a Gpu,
    dtype: DType,
    uploads: Uploads,
    part: PartBuffers,
    /// Where the next blocks go.
    unit: usize,
}

impl<'a> Ring<'a> {
    fn new(gpu: &'a Gpu, dtype: DType, bytes: usize) -> Self {
        let (format, units) = (Format::of(dtype, UNIT), units(dtype, bytes));
        let mut repack = Repack::new(gpu);
        // All of them, as in a model that mixes types.
        let types = BlockTypes::of(dtypes());
        block_on(repack.compile(gpu, Kernel::Repack { types })).unwrap();
        Self {
            gpu,
            dtype,
            uploads: Uploads::new(repack),
            part: PartBuffers {
                quants: gpu.storage("quants", format.quant_bytes(units) as u64),
                scales: gpu.storage("scales", format.scale_bytes(units) as u64),
            },
            unit: 0,
        }
    }

    fn write(&mut self, weight: usize, bytes: &[u8]) {
        let repack = self.uploads.repack();
        let target = repack.target(self.gpu, self.dtype, &self.part).unwrap();
        let to = To::Planes(target, WeightId(weight), self.unit);
        block_on(self.uploads.write(self.gpu, to, bytes)).unwrap();
        self.unit += units(self.dtype, bytes.len());
    }

    /// Planes of what was written.
    fn planes(&self) -> (Vec<u8>, Vec<u8>) {
        let format = Format::of(self.dtype, UNIT);
        let (gpu, part) = (self.gpu, &self.part);
        let quants = read(gpu, &part.quants, format.quant_bytes(self.unit));
        (
            quants,
            read(gpu, &part.scales, format.scale_bytes(self.unit)),
        )
    }
}

fn units(dtype: DType, bytes: usize) -> usize {
    bytes / dtype.block_bytes() * (dtype.block_len() / UNIT)
}

fn read(gpu: &Gpu, buffer: &wgpu::Buffer, bytes: usize) -> Vec<u8> {
    let staging = Staging::new(gpu, bytes as u64);
    let mut encoder = gpu.device.create_command_encoder(&Default::default());
    staging.copy(&mut encoder, buffer, 0, bytes as u64);
    gpu.queue.submit([encoder.finish()]);
    let mut read = vec![0; bytes];
    block_on(staging.read(gpu, &mut read)).unwrap();
    read
}

fn compare(gpu: &Gpu, dtype: DType, pieces: &[&[u8]]) {
    let bytes = pieces.concat();
    let mut ring = Ring::new(gpu, dtype, bytes.len());
    for piece in pieces {
        ring.write(0, piece);
    }
    assert_eq!(block_on(ring.uploads.finish(gpu)), Ok(None), "{dtype}");
    let (quants, scales) = ring.planes();
    let mut planes = Planes::default();
    planes.pack("w", dtype, &bytes, dtype.block_len()).unwrap();
    assert!(planes.quants == quants, "{dtype}: integers");
    assert!(planes.scales == scales, "{dtype}: scales");
}

#[test]
fn the_gpu_makes_the_planes_that_the_cpu_makes() {
    for restrictions in [FREE, PLAIN] {
        let Some(gpu) = open(restrictions) else {
            return;
        };
        for dtype in dtypes() {
            let bytes = blocks(dtype, 2047);
            compare(&gpu, dtype, &[&bytes]);
        }
    }
}

#[test]
fn pieces_of_any_size_go_through_the_ring() {
    let Some(gpu) = open(FREE) else {
        return;
    };
    for dtype in [DType::Q4_0, DType::Q6_K, DType::MXFP4] {
        let bytes = blocks(dtype, STAGE_BYTES as usize * 5 / 2 / dtype.block_bytes());
        // More pieces than are repacked at once, then one larger than the rest of a buffer and the next.
        let (small, large) = bytes.split_at(dtype.block_bytes() * 600);
        let mut pieces: Vec<&[u8]> = small.chunks(dtype.block_bytes() * 4).collect();
        pieces.push(large);
        compare(&gpu, dtype, &pieces);
    }
}

#[test]
fn a_scale_beyond_f16_is_told() {
    let Some(gpu) = open(FREE) else {
        return;
    };
    let (infinite, not_a_number, large) = (0x7C00u16, 0xFE01u16, 0x7BFFu16);
    for dtype in dtypes() {
        for at in halves(dtype) {
            for half in [infinite, not_a_number, large] {
                let good = blocks(dtype, 4);
                let mut bad = good.clone();
                bad[*at..at + 2].copy_from_slice(&half.to_le_bytes());
                let mut ring = Ring::new(&gpu, dtype, 2 * good.len());
                ring.write(6, &good);
                ring.write(7, &bad);
                let found = block_on(ring.uploads.finish(&gpu));
                assert_eq!(found, Ok(Some(WeightId(7))), "{dtype}");
                let mut planes = Planes::default();
                let cpu = planes.pack("w", dtype, &bad, dtype.block_len());
                assert!(matches!(cpu, Err(Error::BadTensor { .. })), "{dtype}");
            }
        }
    }
}

#[test]
fn a_model_with_such_a_scale_is_refused_by_name() {
    let Some(gpu) = open(FREE) else {
        return;
    };
    let model = Model::open("llama-q-Q4_0");
    let is_wanted = |dtype: &DType| *dtype == DType::Q4_0;
    let id = WeightId(model.dtypes().iter().position(is_wanted).unwrap());
    // In the first block, which the CPU looks at, and in the last one, which it does not.
    let block = DType::Q4_0.block_bytes();
    for at in [0, model.weight(id).len() - block] {
        let mut bytes = model.weight(id).to_vec();
        bytes[at..at + 2].copy_from_slice(&0x7C00u16.to_le_bytes());
        let refused = block_on(async {
            let (plan, options) = (model.plan.clone(), GpuOptions::default());
            let mut backend =
                GpuBackend::on(gpu.clone(), plan, model.dtypes(), 32, options).await?;
            for other in (0..model.plan.weights.len()).map(WeightId) {
                let bytes = if other == id {
                    &bytes
                } else {
                    model.weight(other)
                };
                backend.write_rows(other, 0, bytes).await?;
            }
            backend.finish(&mut |_, _| Ok(())).await
        });
        let Err(Error::BadTensor { name, .. }) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(name, model.plan.weights[id.0].tensor);
    }
}

#[test]
fn a_wrong_kernel_leaves_it_to_the_cpu() {
    let breaks = |kernel: &Kernel, _: Reduce, text: String| match kernel {
        Kernel::Repack { .. } => {
            text.replace("params.block + unit /", "params.block + (unit + 1u) /")
        }
        _ => text,
    };
    let Some(gpu) = open_anew(Restrictions {
        sabotage: Some(breaks),
        ..FREE
    }) else {
        return;
    };
    for dtype in dtypes() {
        let bytes = blocks(dtype, 600);
        let mut ring = Ring::new(&gpu, dtype, bytes.len());
        ring.write(0, &bytes);
        ring.uploads.send(&gpu);
        let repack = ring.uploads.repack();
        assert!(repack.is_new(dtype));
        let is_right = block_on(repack.check(&gpu, ("w", dtype), &ring.part, 0, &bytes));
        assert_eq!(is_right, Ok(false), "{dtype}");
        assert!(repack.target(&gpu, dtype, &ring.part).is_none());
        assert_eq!(repack.wrong(), [dtype]);
    }
    let model = Model::open("llama-q-Q4_0");
    let mut engine = model.gpu(&gpu, model.plan.clone(), KvType::F32, FREE);
    let mut reference = model.reference(model.plan.clone());
    let mut cache = engine.new_cache(32);
    block_on(engine.forward(&mut cache, &[3, 5, 7], LogitRows::Last)).unwrap();
    let mut cache = reference.new_cache(32);
    reference
        .forward(&mut cache, &[3, 5, 7], LogitRows::Last)
        .unwrap();
    assert!(rel_l2(engine.logits(), reference.logits()) < 1e-2);
}
