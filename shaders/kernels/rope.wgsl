// Rotates the heads of x in place by their position. Grid: (heads * pairs / WG, tokens).
struct Params {
    heads: u32,
    head_dim: u32,
    pairs: u32, // rotated pairs of a head
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let i = group.x * WG + index;
    if (i >= params.heads * params.pairs || group.y >= state.count) {
        return;
    }
    let pair = i % params.pairs;
    let base = (group.y * params.heads + i / params.pairs) * params.head_dim;
    let turn = rotation(state.position + group.y, pair, params.pairs);
    let at = pair_elements(pair, params.pairs) + base;
    let a = x[at.x];
    let b = x[at.y];
    x[at.x] = a * turn.x - b * turn.y;
    x[at.y] = a * turn.y + b * turn.x;
}
