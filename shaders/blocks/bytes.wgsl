// Reads what stands at any byte of `bytes`, which repack.wgsl binds; little-endian.

// Whether a scale was found that f16 does not hold.
var<private> beyond: bool = false;

const NIBBLES = 0x0F0F0F0Fu;

fn byte_at(at: u32) -> u32 {
    return (bytes[at / 4u] >> ((at & 3u) * 8u)) & 255u;
}

fn word_at(at: u32) -> u32 {
    let shift = (at & 3u) * 8u;
    // In two steps, since nothing can be shifted by 32.
    return (bytes[at / 4u] >> shift) | ((bytes[at / 4u + 1u] << (31u - shift)) << 1u);
}

// Of each of sixteen bytes the bits `mask` of it, moved down by `shift`.
fn bits_at(at: u32, shift: u32, mask: u32) -> vec4<u32> {
    let i = at / 4u;
    let right = vec4<u32>((at & 3u) * 8u);
    let words = vec4<u32>(bytes[i], bytes[i + 1u], bytes[i + 2u], bytes[i + 3u]);
    let next = vec4<u32>(words.yzw, bytes[i + 4u]);
    let aligned = (words >> right) | ((next << (31u - right)) << vec4<u32>(1u));
    return (aligned >> vec4<u32>(shift)) & vec4<u32>(mask);
}

// Bits 0 to 15 as bytes of 0 or 1.
fn bits_to_bytes(bits: u32) -> vec4<u32> {
    let four = (vec4<u32>(bits) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u);
    return (four * 0x00204081u) & vec4<u32>(0x01010101u);
}

// An f16 at an even byte. `unpack2x16float` may flush subnormal ones to zero, and scales of real models are that small.
fn half_at(at: u32) -> f32 {
    let bits = (bytes[at / 4u] >> ((at & 2u) * 8u)) & 0xFFFFu;
    let magnitude = bits & 0x7FFFu;
    beyond = beyond || magnitude >= 0x7C00u;
    let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u);
    let value = select(normal, f32(magnitude) * 0x1p-24, magnitude < 0x400u);
    return select(value, -value, bits >= 0x8000u);
}

// The bits of `256 * scale` as f16, to the nearest and half-way to the even one; `pack2x16float` may round otherwise. Zero
// has no sign.
fn half_bits(scale: f32) -> u32 {
    let value = abs(scale) * 256.0;
    let bits = bitcast<u32>(value);
    let normal = (bits - 0x38000000u + 0xFFFu + ((bits >> 13u) & 1u)) >> 13u;
    let subnormal = u32(round(min(value, 0x1p-14) * 0x1p24));
    let magnitude = select(normal, subnormal, value < 0x1p-14);
    beyond = beyond || magnitude >= 0x7C00u;
    return select(magnitude, magnitude | 0x8000u, scale < 0.0 && magnitude > 0u);
}

fn half_pair(scales: vec2<f32>) -> u32 {
    return half_bits(scales.x) | (half_bits(scales.y) << 16u);
}
