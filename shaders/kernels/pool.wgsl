// One row for the text, or all rows where all are wanted: out = pool(x). Grid: lib/values.wgsl.
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
    first: u32, // 1: the first row, 0: their mean
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn make(row: u32, column: u32) {
    let i = row * params.width + column;
    if (state.rows == state.count || params.first == 1u) {
        out[i] = x[i];
        return;
    }
    var sum = 0.0;
    for (var t = 0u; t < state.count; t++) {
        sum += x[t * params.width + column];
    }
    out[i] = sum / f32(state.count);
}
