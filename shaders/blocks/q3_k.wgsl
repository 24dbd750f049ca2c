// Q3_K: 32 bytes of upper bits, one for each 32 weights; 64 bytes of lower bits as in Q2_K; 12 bytes with 16 scales of 6
// bits; f16 factor. The zero is at 4, in the plane at 8.
fn codes_q3_k(block: u32, unit: u32) -> vec4<u32> {
    let at = block + 16u * (unit & 1u);
    let upper = bits_at(at, unit / 2u, 0x01010101u);
    let lower = bits_at(at + 32u + 32u * (unit / 8u), unit & 6u, 0x03030303u);
    return (lower | (upper << vec4<u32>(2u))) + 0x04040404u;
}

fn scale_q3_k(block: u32, sub: u32) -> vec2<f32> {
    let lower = (byte_at(block + 96u + (sub & 7u)) >> (4u * (sub / 8u))) & 15u;
    let upper = (byte_at(block + 104u + (sub & 3u)) >> (2u * (sub / 4u))) & 3u;
    return vec2<f32>(half_at(block + 108u) * (f32(lower | (upper << 4u)) - 32.0), 0.0);
}
