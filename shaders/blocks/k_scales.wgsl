// Scales and minima of Q4_K and Q5_K: two f16 factors, then 12 bytes. Bytes `i`, `4 + i` and `8 + i` hold the 6 bits of
// scale and minimum of the sub-blocks `i` and `4 + i`: the lower bits of the first two are those of `i`, their two upper bits
// go on top of the nibbles of the third.
fn scale_k(block: u32, sub: u32) -> vec2<f32> {
    let at = block + 4u + (sub & 3u);
    let first = vec2<u32>(byte_at(at), byte_at(at + 4u));
    let third = byte_at(at + 8u);
    let late = vec2<u32>(third & 15u, third >> 4u) | ((first >> vec2<u32>(6u)) << vec2<u32>(4u));
    let codes = select(first & vec2<u32>(63u), late, sub >= 4u);
    return vec2<f32>(half_at(block), half_at(block + 2u)) * vec2<f32>(codes);
}
