// Puts the rows of x into those of out, from `offset` on. Grid: lib/values.wgsl.
struct Params {
    width: u32, // of a row of x
    tail: u32,  // see row_count
    offset: u32,
    out_width: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn make(row: u32, column: u32) {
    out[row * params.out_width + params.offset + column] = x[row * params.width + column];
}
