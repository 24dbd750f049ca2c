// Scales and minima of the integer formats: `w = scale * q - min` for each SUB weights.
// HAS_MIN: one u32 with (scale, min) as f16; else two scales in a u32, or one f32 where SCALE_F32.
// They are stored times 256, so that small f16 scales are not subnormal: GPUs may flush those to zero.
@group(0) @binding(3) var<storage, read> w_scales: array<u32>;

fn scale_min(unit: u32) -> vec2<f32> {
    let s = unit / (SUB / 16u);
    if (SCALE_F32) {
        return vec2<f32>(bitcast<f32>(w_scales[s]), 0.0);
    }
    if (HAS_MIN) {
        return unpack2x16float(w_scales[s]) * 0.00390625;
    }
    let pair = unpack2x16float(w_scales[s / 2u]) * 0.00390625;
    return vec2<f32>(select(pair.x, pair.y, (s & 1u) == 1u), 0.0);
}
