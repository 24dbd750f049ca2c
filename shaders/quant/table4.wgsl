// 4-bit codes into a table of 16 signed bytes, TABLE, for nibbles.wgsl.
// The table's entries for the codes 0..15 in four bytes, as integers. An entry is a byte of one of four words: three
// choices take less time than an array that is indexed.
fn entries(codes: u32) -> vec4<i32> {
    let code = vec4<u32>(codes, codes >> 8u, codes >> 16u, codes >> 24u);
    let odd = (code & vec4<u32>(4u)) != vec4<u32>(0u);
    let low = select(vec4<u32>(TABLE.x), vec4<u32>(TABLE.y), odd);
    let high = select(vec4<u32>(TABLE.z), vec4<u32>(TABLE.w), odd);
    let word = select(low, high, (code & vec4<u32>(8u)) != vec4<u32>(0u));
    // The byte goes to the top, whence its sign comes down.
    let left = ((code & vec4<u32>(3u)) << vec4<u32>(3u)) ^ vec4<u32>(24u);
    return bitcast<vec4<i32>>(word << left) >> vec4<u32>(24u);
}

// Dot product of a unit with `x`.
fn unit_dot(unit: Unit, x: mat4x4<f32>, x_sum: f32) -> f32 {
    let words = unit.bits;
    let sum = dot(vec4<f32>(entries(words.x)), x[0]) + dot(vec4<f32>(entries(words.x >> 4u)), x[1])
        + dot(vec4<f32>(entries(words.y)), x[2]) + dot(vec4<f32>(entries(words.y >> 4u)), x[3]);
    return unit.scale.x * sum;
}

// Weights `4 * quad ..` of a unit.
fn unit_quad(unit: u32, quad: u32) -> vec4<f32> {
    let word = unit_word(unit, quad);
    return scale_min(unit).x * vec4<f32>(entries(word));
}

fn packed(values: vec4<i32>) -> u32 {
    let bytes = bitcast<vec4<u32>>(values) & vec4<u32>(255u);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// A unit as signed bytes.
fn unit_bytes(unit: u32) -> vec4<u32> {
    let words = w_quants[unit];
    return vec4<u32>(
        packed(entries(words.x)), packed(entries(words.x >> 4u)),
        packed(entries(words.y)), packed(entries(words.y >> 4u)),
    );
}
