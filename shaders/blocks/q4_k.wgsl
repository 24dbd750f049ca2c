// Q4_K: 16 bytes for k_scales.wgsl; then 32 bytes for each 64 weights, the first half in the low nibbles.
fn codes_q4_k(block: u32, unit: u32) -> vec4<u32> {
    return bits_at(block + 16u + 32u * (unit / 4u) + 16u * (unit & 1u), 2u * (unit & 2u), NIBBLES);
}
