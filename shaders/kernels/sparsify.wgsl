// out = max(out - mean - factor * deviation, 0) in each row. Grid: (1, rows).
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
    factor: f32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    if (group.y >= row_count(params.tail)) {
        return;
    }
    let base = group.y * params.width;
    var sum = 0.0;
    for (var i = index; i < params.width; i += WG) {
        sum += out[base + i];
    }
    let mean = workgroup_sum(sum) / f32(params.width);
    var squares = 0.0;
    for (var i = index; i < params.width; i += WG) {
        let off = out[base + i] - mean;
        squares += off * off;
    }
    let cut = mean + params.factor * sqrt(workgroup_sum(squares) / f32(params.width - 1u));
    for (var i = index; i < params.width; i += WG) {
        out[base + i] = max(out[base + i] - cut, 0.0);
    }
}
