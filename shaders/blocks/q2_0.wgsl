// Q2_0: f16 scale; 64 codes of 2 bits. The zero is at 1, in the plane at 8.
fn codes_q2_0(block: u32, unit: u32) -> vec4<u32> {
    let four = (vec4<u32>(word_at(block + 2u + 4u * unit)) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
    let spread = four | (four << vec4<u32>(6u)) | (four << vec4<u32>(12u)) | (four << vec4<u32>(18u));
    return (spread & vec4<u32>(0x03030303u)) + 0x07070707u;
}
