// Q8_0: f16 scale; 32 signed bytes.
fn codes_q8_0(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 2u + 16u * unit, 0u, 0xFFFFFFFFu);
}
