// Largest logit of each block of the first row; argmax_join.wgsl takes the largest of the blocks. Grid: (blocks).
struct Params {
    n_vocab: u32,
    blocks: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> candidates: array<vec2<u32>>;

fn run(group: vec3<u32>, index: u32) {
    var best = -3.4e38;
    var best_index = 0xFFFFFFFFu;
    for (var i = group.x * WG + index; i < params.n_vocab; i += params.blocks * WG) {
        if (logits[i] > best) {
            best = logits[i];
            best_index = i;
        }
    }
    let winner = best_of_workgroup(vec2<u32>(bitcast<u32>(best), best_index), index);
    if (index == 0u) {
        candidates[group.x] = winner;
    }
}
