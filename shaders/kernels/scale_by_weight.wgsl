// x = x * weight[0], in place. Grid: (values of a row / WG, rows).
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column >= params.width || group.y >= row_count(params.tail)) {
        return;
    }
    out[group.y * params.width + column] *= weight[0];
}
