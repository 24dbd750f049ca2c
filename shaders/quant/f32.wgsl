// Plain f32: a unit of 16 weights is four vectors.
@group(0) @binding(2) var<storage, read> w_quants: array<vec4<f32>>;

struct Unit {
    weights: mat4x4<f32>,
}

fn unit_load(unit: u32) -> Unit {
    let at = unit * 4u;
    return Unit(mat4x4<f32>(w_quants[at], w_quants[at + 1u], w_quants[at + 2u], w_quants[at + 3u]));
}

// Dot product of a unit with `x`.
fn unit_dot(unit: Unit, x: mat4x4<f32>, x_sum: f32) -> f32 {
    return dot(unit.weights[0], x[0]) + dot(unit.weights[1], x[1])
        + dot(unit.weights[2], x[2]) + dot(unit.weights[3], x[3]);
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    return w_quants[unit * 4u + quad];
}
