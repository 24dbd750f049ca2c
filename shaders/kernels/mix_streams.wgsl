// Adds to each run of `run` values of out, from the run `first` on, a mixture of the runs of y. Grid: lib/values.wgsl.
struct Params {
    width: u32, // of a row of out
    tail: u32,  // see row_count
    run: u32,
    runs: u32,  // of a row of y
    first: u32,
    has_coefs: u32,
    plus: f32,  // to each coefficient
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read> coefs: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn make(row: u32, column: u32) {
    let stream = column / params.run;
    if (stream < params.first) {
        return;
    }
    let coef = (row * (params.width / params.run) + stream) * params.runs;
    let y_base = row * params.runs * params.run + column % params.run;
    var sum = out[row * params.width + column];
    for (var k = 0u; k < params.runs; k++) {
        var factor = params.plus;
        if (params.has_coefs != 0u) {
            factor += coefs[coef + k];
        }
        sum += factor * y[y_base + k * params.run];
    }
    out[row * params.width + column] = sum;
}
