// Brings activations into the form that matmul_packed.wgsl multiplies. Grid: (blocks of 32 values in a row / WG, rows).
// A block becomes eight groups of four numbers, each the value divided by the block's scale, and a vector of floats: the
// scale, the sum of the first half, that of the second and that of both (of the rounded values: what the minima of the
// weights are multiplied with). How numbers are rounded and stored: lib/pack_f16.wgsl, lib/pack_int8.wgsl.
struct Params {
    quads: u32, // vectors of four in a row of x, eight a block
    tail: u32,  // see row_count
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

fn run(group: vec3<u32>, index: u32) {
    let blocks = params.quads / 8u;
    let block = group.x * WG + index;
    if (block >= blocks || group.y >= row_count(params.tail)) {
        return;
    }
    let first = (group.y * blocks + block) * 8u;
    var values: array<vec4<f32>, 8>;
    var largest = vec4<f32>(0.0);
    for (var i = 0u; i < 8u; i++) {
        values[i] = x[first + i];
        largest = max(largest, abs(values[i]));
    }
    let scale = scale_of(max(max(largest.x, largest.y), max(largest.z, largest.w)));
    let place = (group.y * blocks + block) * (8u * WORDS + 4u);
    var sums = vec2<f32>(0.0);
    for (var i = 0u; i < 8u; i++) {
        let sum = dot(put_quad(place + i * WORDS, values[i] * scale.inverse), vec4<f32>(1.0));
        sums += select(vec2<f32>(0.0, sum), vec2<f32>(sum, 0.0), i < 4u);
    }
    sums *= scale.scale;
    let factors = bitcast<vec4<u32>>(vec4<f32>(scale.scale, sums, sums.x + sums.y));
    for (var i = 0u; i < 4u; i++) {
        out[place + 8u * WORDS + i] = factors[i];
    }
}
