// IQ4_XS: f16 factor; upper two bits, then nibbles of eight scales; 16 bytes for each 32 weights, as in Q4_0.
fn codes_iq4_xs(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 8u + 16u * (unit / 2u), 4u * (unit & 1u), NIBBLES);
}

fn scale_iq4_xs(block: u32, sub: u32) -> vec2<f32> {
    let lower = (word_at(block + 4u) >> (4u * sub)) & 15u;
    let upper = (word_at(block + 2u) >> (2u * sub)) & 3u;
    return vec2<f32>(half_at(block) * (f32(lower | (upper << 4u)) - 32.0), 0.0);
}
