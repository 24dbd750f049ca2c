// The chosen experts' rows of x, each times its weight. Grid: (values of a row / WG, rows).
struct Params {
    width: u32, // of a row of out
    tail: u32,  // see row_count
    used: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> route: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column >= params.width || group.y >= row_count(params.tail)) {
        return;
    }
    let i = group.y * params.width + column;
    var sum = 0.0;
    for (var j = 0u; j < params.used; j++) {
        let weight = route[group.y * 2u * params.used + params.used + j];
        sum += weight * x[(group.y * params.used + j) * params.width + column];
    }
    out[i] = sum;
}
