// Q5_K: 16 bytes for k_scales.wgsl; 32 bytes of upper bits, one for each 32 weights; nibbles as in Q4_K.
fn codes_q5_k(block: u32, unit: u32) -> vec4<u32> {
    let at = block + 16u + 16u * (unit & 1u);
    let upper = bits_at(at, unit / 2u, 0x01010101u);
    return bits_at(at + 32u + 32u * (unit / 4u), 2u * (unit & 2u), NIBBLES) | (upper << vec4<u32>(4u));
}
