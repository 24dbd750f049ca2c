// Random numbers by position: Threefry-2x32 with 20 rounds (Salmon et al. 2011). Twin of src/sampling/random.rs.
fn four_rounds(x: vec2<u32>, rotations: vec4<u32>) -> vec2<u32> {
    var v = x;
    for (var i = 0u; i < 4u; i += 1u) {
        let r = rotations[i];
        v.x += v.y;
        v.y = ((v.y << r) | (v.y >> (32u - r))) ^ v.x;
    }
    return v;
}

fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let odd = vec4<u32>(13u, 15u, 26u, 6u);
    let even = vec4<u32>(17u, 29u, 16u, 24u);
    let third = 0x1BD11BDAu ^ key.x ^ key.y;
    var v = four_rounds(counter + key, odd) + vec2<u32>(key.y, third + 1u);
    v = four_rounds(v, even) + vec2<u32>(third, key.x + 2u);
    v = four_rounds(v, odd) + vec2<u32>(key.x, key.y + 3u);
    v = four_rounds(v, even) + vec2<u32>(key.y, third + 4u);
    return four_rounds(v, odd) + vec2<u32>(third, key.x + 5u);
}

// Uniform in [0, 1): the highest bits of the number that the host draws.
fn uniform_number(seed: vec2<u32>, draw: u32) -> f32 {
    return f32(threefry(seed, vec2<u32>(draw, 0u)).x >> 8u) / 16777216.0;
}
