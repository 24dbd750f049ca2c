// Q4_0 and IQ4_NL: f16 scale; 16 bytes with the codes of the first half in their low nibbles.
fn block_codes(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 2u, 4u * unit, NIBBLES);
}

fn block_scale(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), 0.0);
}
