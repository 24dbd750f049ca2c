// Q5_0: f16 scale; 32 upper bits; nibbles as in Q4_0. The zero is at 16, in the plane at 32.
fn codes_q5_0(block: u32, unit: u32) -> vec4<u32> {
    let upper = bits_to_bytes(word_at(block + 2u) >> (16u * unit));
    return (bits_at(block + 6u, 4u * unit, NIBBLES) | (upper << vec4<u32>(4u))) + 0x10101010u;
}
