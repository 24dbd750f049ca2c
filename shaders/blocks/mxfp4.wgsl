// MXFP4: an exponent of two; 16 bytes as in Q4_0. The table holds twice the values, so the scale is halved.
fn codes_mxfp4(block: u32, unit: u32) -> vec4<u32> {
    return one_zero(bits_at(block + 1u, 4u * unit, NIBBLES));
}

// Zero where it were subnormal, which GPUs may not know.
fn scale_mxfp4(block: u32, sub: u32) -> vec2<f32> {
    let exponent = byte_at(block);
    return vec2<f32>(bitcast<f32>(select((exponent - 1u) << 23u, 0u, exponent < 2u)), 0.0);
}
