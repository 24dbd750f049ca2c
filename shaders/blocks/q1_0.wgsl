// Q1_0: f16 scale; 128 bits, set for 1 and clear for -1. The plane has them about 8.
fn codes_q1_0(block: u32, unit: u32) -> vec4<u32> {
    return bits_to_bytes(word_at(block + 2u + 2u * unit)) * 2u + 0x07070707u;
}
