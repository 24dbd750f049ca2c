// Codes of 4-bit floats where minus zero, code 8, is zero.
fn one_zero(codes: vec4<u32>) -> vec4<u32> {
    let some = (codes | (codes >> vec4<u32>(1u)) | (codes >> vec4<u32>(2u))) & vec4<u32>(0x01010101u);
    return codes & ((some << vec4<u32>(3u)) | vec4<u32>(0x07070707u));
}
