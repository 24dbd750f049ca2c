// x = x * (1 + factor * ln(1 + floor(position / length))), in place. Grid: (values of a row / WG, tokens).
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
    factor: f32,
    length: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column >= params.width || group.y >= row_count(params.tail)) {
        return;
    }
    let i = group.y * params.width + column;
    out[i] *= 1.0 + params.factor * log(1.0 + f32((state.position + group.y) / params.length));
}
