// Q2_K: 16 bytes of scale (low nibble) and minimum; two halves of 32 bytes, four codes of 2 bits in a byte; f16 factors of
// scales and of minima.
fn codes_q2_k(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 16u + 32u * (unit / 8u) + 16u * (unit & 1u), unit & 6u, 0x03030303u);
}

fn scale_q2_k(block: u32, sub: u32) -> vec2<f32> {
    let codes = byte_at(block + sub);
    return vec2<f32>(half_at(block + 80u), half_at(block + 82u)) * vec2<f32>(vec2<u32>(codes & 15u, codes >> 4u));
}
