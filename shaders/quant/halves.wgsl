// Floats of two bytes in pairs, as `two_floats` of f16.wgsl or bf16.wgsl reads them: a unit of 16 weights is two vectors of
// four words.
@group(0) @binding(2) var<storage, read> w_quants: array<vec4<u32>>;

fn four_floats(words: vec2<u32>) -> vec4<f32> {
    return vec4<f32>(two_floats(words.x), two_floats(words.y));
}

struct Unit {
    a: vec4<u32>,
    b: vec4<u32>,
}

fn unit_load(unit: u32) -> Unit {
    return Unit(w_quants[unit * 2u], w_quants[unit * 2u + 1u]);
}

// Dot product of a unit with `x`.
fn unit_dot(unit: Unit, x: mat4x4<f32>, x_sum: f32) -> f32 {
    return dot(four_floats(unit.a.xy), x[0]) + dot(four_floats(unit.a.zw), x[1])
        + dot(four_floats(unit.b.xy), x[2]) + dot(four_floats(unit.b.zw), x[3]);
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    let words = w_quants[unit * 2u + quad / 2u];
    return four_floats(select(words.xy, words.zw, (quad & 1u) == 1u));
}
