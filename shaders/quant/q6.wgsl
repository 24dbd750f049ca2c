// 6-bit integers 0..63 less ZERO. A unit of 16 weights is three words: two of nibbles as in q4.wgsl, then the upper two bits:
// those of weight `4 * g + i` are bits `2 * g` of byte `i`, so that those of four weights are one mask away.
@group(0) @binding(2) var<storage, read> w_quants: array<u32>;

fn bytes_to_f32(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<u32>(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u));
}

// Dot product of a unit with `x`; `x_sum` is the sum of `x`.
fn unit_dot(unit: u32, x: mat4x4<f32>, x_sum: f32) -> f32 {
    let a = w_quants[unit * 3u];
    let b = w_quants[unit * 3u + 1u];
    let upper = w_quants[unit * 3u + 2u];
    let sum = dot(bytes_to_f32((a & 0x0F0F0F0Fu) | ((upper << 4u) & 0x30303030u)), x[0])
        + dot(bytes_to_f32(((a >> 4u) & 0x0F0F0F0Fu) | ((upper << 2u) & 0x30303030u)), x[1])
        + dot(bytes_to_f32((b & 0x0F0F0F0Fu) | (upper & 0x30303030u)), x[2])
        + dot(bytes_to_f32(((b >> 4u) & 0x0F0F0F0Fu) | ((upper >> 2u) & 0x30303030u)), x[3]);
    let s = scale_min(unit);
    return s.x * (sum - ZERO * x_sum) - s.y * x_sum;
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    let word = w_quants[unit * 3u + quad / 2u] >> ((quad & 1u) * 4u);
    let upper = ((w_quants[unit * 3u + 2u] >> (quad * 2u)) & 0x03030303u) << 4u;
    let s = scale_min(unit);
    return s.x * (bytes_to_f32((word & 0x0F0F0F0Fu) | upper) - ZERO) - s.y;
}
