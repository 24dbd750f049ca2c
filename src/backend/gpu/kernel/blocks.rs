//! How the GPU reads blocks of GGUF: a module of `shaders/blocks` for each type that people ship. Of a type without one the
//! CPU makes the planes.

use super::super::format::{Format, Plane, Scale, UNIT};
use super::DType;
use super::source::{Constants, shader};

/// Units that an invocation of the kernel writes.
pub const REPACK_RUN: usize = 32;

/// Units that end with a whole word of scales, whatever the type.
pub const REPACK_GRAIN: usize = 4;

/// Types that one kernel repacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockTypes(u64);

impl BlockTypes {
    /// Those of `dtypes` that a kernel can repack.
    pub fn of(dtypes: impl IntoIterator<Item = DType>) -> Self {
        let known = dtypes.into_iter().filter(|of| reader(*of).is_some());
        Self(known.fold(0, |set, dtype| set | 1 << dtype.ggml_id()))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In the order of GGML's numbers.
    pub fn iter(self) -> impl Iterator<Item = DType> {
        let all = DType::ALL.iter().copied();
        all.filter(move |dtype| self.0 >> dtype.ggml_id() & 1 == 1)
    }
}

/// What reads the blocks of a type.
struct Reader {
    modules: &'static [&'static str],
    /// Ends the name of the function that gives the codes of a unit.
    codes: &'static str,
    /// Ends the name of the one that gives a scale.
    scale: &'static str,
}

fn reader(dtype: DType) -> Option<Reader> {
    const HALVES: &str = shader!("blocks/half_scales.wgsl");
    const E2M1: &str = shader!("blocks/e2m1.wgsl");
    const K_SCALES: &str = shader!("blocks/k_scales.wgsl");
    let reader = |modules, codes, scale| Reader {
        modules,
        codes,
        scale,
    };
    Some(match dtype {
        DType::Q1_0 => reader(&[HALVES, shader!("blocks/q1_0.wgsl")], "q1_0", "half"),
        DType::Q2_0 => reader(&[HALVES, shader!("blocks/q2_0.wgsl")], "q2_0", "half"),
        DType::Q4_0 | DType::IQ4_NL => {
            reader(&[HALVES, shader!("blocks/q4_0.wgsl")], "q4_0", "half")
        }
        DType::Q4_1 => reader(&[HALVES, shader!("blocks/q4_1.wgsl")], "q4_1", "half_min"),
        DType::Q5_0 => reader(&[HALVES, shader!("blocks/q5_0.wgsl")], "q5_0", "half"),
        DType::Q5_1 => reader(&[HALVES, shader!("blocks/q5_1.wgsl")], "q5_1", "half_min"),
        DType::Q8_0 => reader(&[HALVES, shader!("blocks/q8_0.wgsl")], "q8_0", "half"),
        DType::Q2_K => reader(&[shader!("blocks/q2_k.wgsl")], "q2_k", "q2_k"),
        DType::Q3_K => reader(&[shader!("blocks/q3_k.wgsl")], "q3_k", "q3_k"),
        DType::Q4_K => reader(&[K_SCALES, shader!("blocks/q4_k.wgsl")], "q4_k", "k"),
        DType::Q5_K => reader(&[K_SCALES, shader!("blocks/q5_k.wgsl")], "q5_k", "k"),
        DType::Q6_K => reader(&[shader!("blocks/q6_k.wgsl")], "q6_k", "q6_k"),
        DType::IQ4_XS => reader(&[shader!("blocks/iq4_xs.wgsl")], "iq4_xs", "iq4_xs"),
        DType::MXFP4 => reader(&[E2M1, shader!("blocks/mxfp4.wgsl")], "mxfp4", "mxfp4"),
        DType::NVFP4 => reader(&[E2M1, shader!("blocks/nvfp4.wgsl")], "nvfp4", "nvfp4"),
        _ => return None,
    })
}

/// Modules of the kernel that repacks some types.
pub(super) fn repack_modules(types: BlockTypes) -> Vec<&'static str> {
    let mut all = vec![shader!("blocks/bytes.wgsl")];
    for module in types.iter().filter_map(reader).flat_map(|of| of.modules) {
        if !all.contains(module) {
            all.push(module);
        }
    }
    all
}

/// Its constants, and its loops over units and over words of scales, which differ from type to type.
pub(super) fn repack_constants(list: &mut Constants, types: BlockTypes) {
    list.number("RUN", REPACK_RUN);
    let loops =
        |each: fn(DType) -> Option<String>| types.iter().filter_map(each).collect::<String>();
    let (codes, scales) = (loops(code_loop), loops(scale_loop));
    list.text(&format!(
        "fn repack_codes(start: u32, end: u32) {{\n{codes}}}\n"
    ));
    list.text(&format!(
        "fn repack_scales(start: u32, end: u32) {{\n{scales}}}\n"
    ));
}

fn code_loop(dtype: DType) -> Option<String> {
    let plane = match Format::of(dtype, UNIT).plane {
        Plane::Q4 | Plane::Iq4 | Plane::E2m1 => "q4",
        Plane::Q6 => "q6",
        _ => "q8",
    };
    let (id, name) = (dtype.ggml_id(), reader(dtype)?.codes);
    let (units, bytes) = (dtype.block_len() / UNIT, dtype.block_bytes());
    Some(format!(
        "for (var unit = start + lane; unit < end_for({id}u, end); unit += WG) {{\n\
         store_{plane}(unit, codes_{name}(block_of(unit, {units}u, {bytes}u), unit % {units}u));\n}}\n"
    ))
}

fn scale_loop(dtype: DType) -> Option<String> {
    // Rows of quantized types are whole units, however long.
    let format = Format::of(dtype, UNIT);
    let (id, name) = (dtype.ggml_id(), reader(dtype)?.scale);
    let (units, bytes) = (dtype.block_len() / UNIT, dtype.block_bytes());
    let sub = format.sub / UNIT;
    let scale = |unit: &str| {
        format!("scale_{name}(block_of({unit}, {units}u, {bytes}u), {unit} % {units}u / {sub}u)")
    };
    let (step, word) = match format.scale {
        Scale::Single => (sub, format!("bitcast<u32>({}.x)", scale("unit"))),
        Scale::HalfMin => (sub, format!("half_pair({})", scale("unit"))),
        Scale::Half | Scale::None => {
            let (first, second) = (scale("unit"), scale(&format!("second_of(unit, {sub}u)")));
            (
                2 * sub,
                format!("half_pair(vec2<f32>({first}.x, of_second(unit, {sub}u, {second}.x)))"),
            )
        }
    };
    Some(format!(
        "for (var unit = start + lane * {step}u; unit < end_for({id}u, end); unit += WG * {step}u) {{\n\
         scales[(params.unit + unit) / {step}u] = {word};\n}}\n"
    ))
}
