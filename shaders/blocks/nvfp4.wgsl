// NVFP4: four scales in E4M3, then 8 bytes for each 16 weights: the first eight in the low nibbles. The table holds twice the
// values, so scales are halved.
fn codes_nvfp4(block: u32, unit: u32) -> vec4<u32> {
    let at = block + 4u + 8u * unit;
    let words = vec2<u32>(word_at(at), word_at(at + 4u));
    return one_zero(vec4<u32>(words, words >> vec2<u32>(4u)) & vec4<u32>(NIBBLES));
}

fn scale_nvfp4(block: u32, sub: u32) -> vec2<f32> {
    let bits = byte_at(block + sub);
    let exponent = (bits >> 3u) & 15u;
    let mantissa = bits & 7u;
    let value = select(bitcast<f32>(((exponent + 119u) << 23u) | (mantissa << 20u)), f32(mantissa) * 0x1p-10, exponent == 0u);
    return vec2<f32>(select(value, 0.0, bits == 0x7Fu), 0.0);
}
