// 6-bit integers 0..63 less ZERO. A unit of 16 weights is three words: two of nibbles as in q4.wgsl, then the upper two bits:
// those of weight `4 * g + i` are bits `2 * g` of byte `i`, so that those of four weights are one mask away.
@group(0) @binding(2) var<storage, read> w_quants: array<u32>;

fn bytes_to_f32(word: u32) -> vec4<f32> {
    return vec4<f32>(vec4<u32>(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u));
}

struct Unit {
    bits: vec3<u32>,
    scale: vec2<f32>,
}

fn unit_load(unit: u32) -> Unit {
    return Unit(vec3<u32>(w_quants[unit * 3u], w_quants[unit * 3u + 1u], w_quants[unit * 3u + 2u]), scale_min(unit));
}

// Dot product of a unit with `x`; `x_sum` is the sum of `x`.
fn unit_dot(unit: Unit, x: mat4x4<f32>, x_sum: f32) -> f32 {
    let a = unit.bits.x;
    let b = unit.bits.y;
    let upper = unit.bits.z;
    let sum = dot(bytes_to_f32((a & 0x0F0F0F0Fu) | ((upper << 4u) & 0x30303030u)), x[0])
        + dot(bytes_to_f32(((a >> 4u) & 0x0F0F0F0Fu) | ((upper << 2u) & 0x30303030u)), x[1])
        + dot(bytes_to_f32((b & 0x0F0F0F0Fu) | (upper & 0x30303030u)), x[2])
        + dot(bytes_to_f32(((b >> 4u) & 0x0F0F0F0Fu) | ((upper >> 2u) & 0x30303030u)), x[3]);
    return unit.scale.x * (sum - ZERO * x_sum) - unit.scale.y * x_sum;
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    let word = w_quants[unit * 3u + quad / 2u] >> ((quad & 1u) * 4u);
    let upper = ((w_quants[unit * 3u + 2u] >> (quad * 2u)) & 0x03030303u) << 4u;
    let s = scale_min(unit);
    return s.x * (bytes_to_f32((word & 0x0F0F0F0Fu) | upper) - ZERO) - s.y;
}

// A unit as signed bytes. Taking ZERO from four of them at once must not borrow from byte to byte.
fn unit_bytes(unit: u32) -> vec4<u32> {
    let words = unit_load(unit).bits;
    let nibbles = vec4<u32>(words.x, words.x >> 4u, words.y, words.y >> 4u) & vec4<u32>(0x0F0F0F0Fu);
    let upper = vec4<u32>(words.z << 4u, words.z << 2u, words.z, words.z >> 2u) & vec4<u32>(0x30303030u);
    let bytes = nibbles | upper;
    if (ZERO == 0.0) {
        return bytes;
    }
    return (bytes + 0x60606060u) ^ vec4<u32>(0x80808080u);
}
