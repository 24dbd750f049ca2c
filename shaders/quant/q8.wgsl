// Signed 8-bit integers: a unit of 16 weights is four words.
@group(0) @binding(2) var<storage, read> w_quants: array<vec4<u32>>;

fn bytes_to_f32(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<i32>(vec4<u32>(word << 24u, word << 16u, word << 8u, word)) >> vec4<u32>(24u));
}

struct Unit {
    bits: vec4<u32>,
    scale: vec2<f32>,
}

fn unit_load(unit: u32) -> Unit {
    return Unit(w_quants[unit], scale_min(unit));
}

// Dot product of a unit with `x`; `x_sum` is the sum of `x`.
fn unit_dot(unit: Unit, x: mat4x4<f32>, x_sum: f32) -> f32 {
    let words = unit.bits;
    let sum = dot(bytes_to_f32(words.x), x[0]) + dot(bytes_to_f32(words.y), x[1])
        + dot(bytes_to_f32(words.z), x[2]) + dot(bytes_to_f32(words.w), x[3]);
    return unit.scale.x * sum - unit.scale.y * x_sum;
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    let s = scale_min(unit);
    return s.x * bytes_to_f32(w_quants[unit][quad]) - s.y;
}

// A unit as signed bytes.
fn unit_bytes(unit: u32) -> vec4<u32> {
    return w_quants[unit];
}
