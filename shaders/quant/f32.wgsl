// Plain f32: a unit of 16 weights is four vectors.
@group(0) @binding(2) var<storage, read> w_quants: array<vec4<f32>>;

// Dot product of a unit with `x`.
fn unit_dot(unit: u32, x: mat4x4<f32>, x_sum: f32) -> f32 {
    let at = unit * 4u;
    return dot(w_quants[at], x[0]) + dot(w_quants[at + 1u], x[1])
        + dot(w_quants[at + 2u], x[2]) + dot(w_quants[at + 3u], x[3]);
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    return w_quants[unit * 4u + quad];
}
