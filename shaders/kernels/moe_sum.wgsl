// The chosen experts' rows of x, each times its weight. Grid: lib/values.wgsl.
struct Params {
    width: u32, // of a row of out
    tail: u32,  // see row_count
    used: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> route: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn make(row: u32, column: u32) {
    let i = row * params.width + column;
    var sum = 0.0;
    for (var j = 0u; j < params.used; j++) {
        let weight = route[row * 2u * params.used + params.used + j];
        sum += weight * x[(row * params.used + j) * params.width + column];
    }
    out[i] = sum;
}
