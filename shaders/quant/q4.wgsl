// 4-bit integers 0..15 less ZERO, for nibbles.wgsl.
fn bytes_to_f32(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<u32>(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u));
}

// Dot product of a unit with `x`; `x_sum` is the sum of `x`.
fn unit_dot(unit: Unit, x: mat4x4<f32>, x_sum: f32) -> f32 {
    let words = unit.bits;
    let low = words & vec2<u32>(0x0F0F0F0Fu);
    let high = (words >> vec2<u32>(4u)) & vec2<u32>(0x0F0F0F0Fu);
    let sum = dot(bytes_to_f32(low.x), x[0]) + dot(bytes_to_f32(high.x), x[1])
        + dot(bytes_to_f32(low.y), x[2]) + dot(bytes_to_f32(high.y), x[3]);
    return unit.scale.x * (sum - ZERO * x_sum) - unit.scale.y * x_sum;
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    let word = unit_word(unit, quad);
    let s = scale_min(unit);
    return s.x * (bytes_to_f32(word & 0x0F0F0F0Fu) - ZERO) - s.y;
}

// A unit as signed bytes. Taking ZERO from four of them at once must not borrow from byte to byte.
fn unit_bytes(unit: u32) -> vec4<u32> {
    let words = w_quants[unit];
    let low = words & vec2<u32>(0x0F0F0F0Fu);
    let high = (words >> vec2<u32>(4u)) & vec2<u32>(0x0F0F0F0Fu);
    let bytes = vec4<u32>(low.x, high.x, low.y, high.y);
    if (ZERO == 0.0) {
        return bytes;
    }
    return (bytes + 0x78787878u) ^ vec4<u32>(0x80808080u);
}
