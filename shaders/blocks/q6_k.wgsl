// Q6_K: two halves of 64 bytes with the low nibbles of 128 weights; two of 32 bytes with their upper two bits; 16 scales as
// signed bytes; f16 factor.
fn codes_q6_k(block: u32, unit: u32) -> vec4<u32> {
    let at = block + 16u * (unit & 1u);
    let lower = bits_at(at + 64u * (unit / 8u) + 16u * (unit & 2u), unit & 4u, NIBBLES);
    let upper = bits_at(at + 128u + 32u * (unit / 8u), unit & 6u, 0x03030303u);
    return lower | (upper << vec4<u32>(4u));
}

fn scale_q6_k(block: u32, sub: u32) -> vec2<f32> {
    let code = bitcast<i32>(byte_at(block + 192u + sub) << 24u) >> 24u;
    return vec2<f32>(half_at(block + 208u) * f32(code), 0.0);
}
