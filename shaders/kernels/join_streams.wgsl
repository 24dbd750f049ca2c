// out = first, and after it the runs of rest, each brought to the length of first. Grid: (runs of rest, rows).
struct Params {
    width: u32, // of first, and of a run of rest
    runs: u32,  // of a row of rest
    tail: u32,  // see row_count
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> first: array<f32>;
@group(0) @binding(3) var<storage, read> rest: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    if (group.y >= row_count(params.tail)) {
        return;
    }
    let first_base = group.y * params.width;
    let rest_base = (group.y * params.runs + group.x) * params.width;
    let out_base = (group.y * (params.runs + 1u) + group.x + 1u) * params.width;
    var squares = vec4<f32>();
    for (var i = index; i < params.width; i += WG) {
        let a = first[first_base + i];
        let b = rest[rest_base + i];
        squares += vec4<f32>(a * a, b * b, 0.0, 0.0);
        if (group.x == 0u) {
            out[out_base - params.width + i] = a;
        }
    }
    let sums = workgroup_sum4(squares);
    let factor = sqrt(sums.x / sums.y);
    for (var i = index; i < params.width; i += WG) {
        out[out_base + i] = rest[rest_base + i] * factor;
    }
}
