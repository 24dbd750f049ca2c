// out = act(gate) * out; a gate of fewer values is spread over equal parts of out. Grid: (values of a row / WG, rows).
struct Params {
    width: u32, // of a row
    tail: u32,  // see row_count
    share: u32, // values of out that share one of gate
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> gate: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let column = group.x * WG + index;
    if (column >= params.width || group.y >= row_count(params.tail)) {
        return;
    }
    let i = group.y * params.width + column;
    out[i] = gated(gate[i / params.share], out[i]);
}
