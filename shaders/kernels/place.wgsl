// Puts the runs of x into those of out, from `offset` on; a single one into all. Grid: lib/values.wgsl.
struct Params {
    width: u32, // values that a row of out gets
    tail: u32,  // see row_count
    offset: u32,
    out_width: u32,
    run: u32,
    stride: u32, // from one run of out to the next
    x_width: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn make(row: u32, column: u32) {
    let at = column / params.run * params.stride + params.offset + column % params.run;
    out[row * params.out_width + at] = x[row * params.x_width + column % params.x_width];
}
