// Q4_1: f16 scale, f16 lowest value; nibbles as in Q4_0.
fn codes_q4_1(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 4u, 4u * unit, NIBBLES);
}
