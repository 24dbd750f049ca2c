// Largest logit of each block of the first row; argmax_join.wgsl takes the largest of the blocks. Grid: (blocks).
// A candidate is (bits of the value, index). Of equal values the lower index wins, as on the CPU.
struct Params {
    n_vocab: u32,
    blocks: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> logits: array<f32>;
@group(0) @binding(3) var<storage, read_write> candidates: array<vec2<u32>>;

var<workgroup> values: array<f32, WG>;
var<workgroup> indices: array<u32, WG>;

fn run(group: vec3<u32>, index: u32) {
    var best = -3.4e38;
    var best_index = 0xFFFFFFFFu;
    for (var i = group.x * WG + index; i < params.n_vocab; i += params.blocks * WG) {
        if (logits[i] > best) {
            best = logits[i];
            best_index = i;
        }
    }
    values[index] = best;
    indices[index] = best_index;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (index < half) {
            let other = values[index + half];
            let mine = values[index];
            if (other > mine || (other == mine && indices[index + half] < indices[index])) {
                values[index] = other;
                indices[index] = indices[index + half];
            }
        }
    }
    workgroupBarrier();
    if (index == 0u) {
        candidates[group.x] = vec2<u32>(bitcast<u32>(values[0]), indices[0]);
    }
}
