// Q5_0: f16 scale; 32 upper bits; nibbles as in Q4_0. The zero is at 16, in the plane at 32.
fn block_codes(block: u32, unit: u32) -> vec4<u32> {
    let upper = bits_to_bytes(word_at(block + 2u) >> (16u * unit));
    return (bits_at(block + 6u, 4u * unit, NIBBLES) | (upper << vec4<u32>(4u))) + 0x10101010u;
}

fn block_scale(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), 0.0);
}
