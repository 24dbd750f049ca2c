// x = cap * tanh(x / cap), in place. Grid: (values of a row / WG, rows).
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
    factor: f32, // the cap
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column >= params.width || group.y >= row_count(params.tail)) {
        return;
    }
    let i = group.y * params.width + column;
    out[i] = params.factor * tanh(clamp(out[i] / params.factor, -10.0, 10.0));
}
