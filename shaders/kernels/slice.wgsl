// out = of each run of `stride` values of x, `count` values from `offset` on. Grid: (values of a row / WG, rows).
// With runs as long as the rows it is a plain copy.
struct Params {
    width: u32, // of a row of out
    tail: u32,  // see row_count
    count: u32,
    stride: u32,
    offset: u32,
    x_width: u32, // of a row of x
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column >= params.width || group.y >= row_count(params.tail)) {
        return;
    }
    let within = column / params.count * params.stride + params.offset + column % params.count;
    out[group.y * params.width + column] = x[group.y * params.x_width + within];
}
