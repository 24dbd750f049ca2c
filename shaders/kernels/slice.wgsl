// out = of each run of `stride` values of x, `count` values from `offset` on. Grid: lib/values.wgsl.
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

fn make(row: u32, column: u32) {
    let within = column / params.count * params.stride + params.offset + column % params.count;
    out[row * params.width + column] = x[row * params.x_width + within];
}
