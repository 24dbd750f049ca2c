// Rounds activations to eight bits, for matmul_int8.wgsl. Grid: (blocks of 32 values in a row / WG, rows).
// A block becomes three vectors: sixteen codes, sixteen codes, and as floats its scale, the sum of the first half, that
// of the second and that of both (of the rounded values: what the minima of the weights are multiplied with).
struct Params {
    quads: u32, // vectors of four in a row of x, eight a block
    tail: u32,  // see row_count
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<u32>>;

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
    let most = max(max(largest.x, largest.y), max(largest.z, largest.w));
    let inverse = select(0.0, 127.0 / most, most > 0.0);
    var codes: array<u32, 8>;
    var sums = vec2<f32>(0.0);
    for (var i = 0u; i < 8u; i++) {
        let rounded = round(values[i] * inverse);
        codes[i] = pack4xI8(vec4<i32>(rounded));
        let sum = dot(rounded, vec4<f32>(1.0));
        sums += select(vec2<f32>(0.0, sum), vec2<f32>(sum, 0.0), i < 4u);
    }
    let scale = most / 127.0;
    sums *= scale;
    let place = (group.y * blocks + block) * 3u;
    out[place] = vec4<u32>(codes[0], codes[1], codes[2], codes[3]);
    out[place + 1u] = vec4<u32>(codes[4], codes[5], codes[6], codes[7]);
    out[place + 2u] = bitcast<vec4<u32>>(vec4<f32>(scale, sums, sums.x + sums.y));
}
