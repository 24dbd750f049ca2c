// Each row becomes its softmax, in place. Grid: (1, rows).
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    if (group.y >= row_count(params.tail)) {
        return;
    }
    let base = group.y * params.width;
    var largest = -3.4e38;
    for (var i = index; i < params.width; i += WG) {
        largest = max(largest, out[base + i]);
    }
    largest = workgroup_max(largest);
    var sum = 0.0;
    for (var i = index; i < params.width; i += WG) {
        sum += exp(out[base + i] - largest);
    }
    sum = workgroup_sum(sum);
    for (var i = index; i < params.width; i += WG) {
        out[base + i] = exp(out[base + i] - largest) / sum;
    }
}
