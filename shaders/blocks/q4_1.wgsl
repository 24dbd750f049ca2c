// Q4_1: f16 scale, f16 lowest value; nibbles as in Q4_0.
fn block_codes(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 4u, 4u * unit, NIBBLES);
}

fn block_scale(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), -half_at(block + 2u));
}
