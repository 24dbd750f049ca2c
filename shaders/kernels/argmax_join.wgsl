// Chooses the best candidate of argmax.wgsl. Grid: (1).
struct Params {
    n_vocab: u32,
    blocks: u32, // at most WG
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> candidates: array<vec2<u32>>;

fn run(group: vec3<u32>, index: u32) {
    var candidate = vec2<u32>(bitcast<u32>(-3.4e38), 0xFFFFFFFFu);
    if (index < params.blocks) {
        candidate = candidates[index];
    }
    let winner = best_of_workgroup(candidate, index);
    if (index == 0u) {
        next_token(min(winner.y, params.n_vocab - 1u));
    }
}
