// Types of blocks of 32: one f16 scale, and after it the lowest value where they have one.
fn scale_half(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), 0.0);
}

fn scale_half_min(block: u32, sub: u32) -> vec2<f32> {
    return vec2<f32>(half_at(block), -half_at(block + 2u));
}
