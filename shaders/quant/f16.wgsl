// IEEE half precision, for halves.wgsl.
fn two_floats(word: u32) -> vec2<f32> {
    return unpack2x16float(word);
}
