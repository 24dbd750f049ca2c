// Q4_0 and IQ4_NL: f16 scale; 16 bytes with the codes of the first half in their low nibbles.
fn codes_q4_0(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 2u, 4u * unit, NIBBLES);
}
