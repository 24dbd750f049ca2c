// Q5_1: f16 scale, f16 lowest value; 32 upper bits; nibbles as in Q4_0.
fn block_codes(block: u32, unit: u32) -> vec4<u32> {
    let upper = bits_to_bytes(word_at(block + 4u) >> (16u * unit));
    return bits_at(block + 8u, 4u * unit, NIBBLES) | (upper << vec4<u32>(4u));
}

fn block_scale(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), -half_at(block + 2u));
}
