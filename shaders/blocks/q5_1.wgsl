// Q5_1: f16 scale, f16 lowest value; 32 upper bits; nibbles as in Q4_0.
fn codes_q5_1(block: u32, unit: u32) -> vec4<u32> {
    let upper = bits_to_bytes(word_at(block + 4u) >> (16u * unit));
    return bits_at(block + 8u, 4u * unit, NIBBLES) | (upper << vec4<u32>(4u));
}
