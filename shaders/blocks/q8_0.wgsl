// Q8_0: f16 scale; 32 signed bytes.
fn block_codes(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 2u + 16u * unit, 0u, 0xFFFFFFFFu);
}

fn block_scale(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), 0.0);
}
