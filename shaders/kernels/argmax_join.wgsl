// Chooses the best candidate of argmax.wgsl. Grid: (1).
struct Params {
    n_vocab: u32,
    blocks: u32, // at most WG
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> candidates: array<vec2<u32>>;

var<workgroup> values: array<f32, WG>;
var<workgroup> indices: array<u32, WG>;

fn run(group: vec3<u32>, index: u32) {
    var candidate = vec2<u32>(bitcast<u32>(-3.4e38), 0xFFFFFFFFu);
    if (index < params.blocks) {
        candidate = candidates[index];
    }
    values[index] = bitcast<f32>(candidate.x);
    indices[index] = candidate.y;
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
        next_token(min(indices[0], params.n_vocab - 1u));
    }
}
