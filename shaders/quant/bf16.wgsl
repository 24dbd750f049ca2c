// bfloat16, the upper half of an f32, for halves.wgsl.
fn two_floats(word: u32) -> vec2<f32> {
    return bitcast<vec2<f32>>(vec2<u32>(word << 16u, word & 0xFFFF0000u));
}
