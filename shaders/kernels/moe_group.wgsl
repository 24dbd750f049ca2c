// Sorts what the tokens of a chunk have chosen by expert, so that an expert's weights are read once for all its tokens.
// Grid: one workgroup. A slot is a token's choice: token * used + rank.
// out: [number of tiles, 0, 0, 0 | for each tile: expert, where its slots begin in out, how many, 0 | slots]
// The order within an expert is left to chance: each slot is computed by itself.
struct Params {
    experts: u32,
    used: u32,
    tail: u32,  // see row_count
    slots_at: u32, // where the slots begin in out
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> route: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

var<workgroup> counts: array<atomic<u32>, MAX_EXPERTS>;
var<workgroup> starts: array<u32, MAX_EXPERTS>;

fn expert_of(slot: u32) -> u32 {
    let token = slot / params.used;
    // A router that is broken must not lead outside.
    return min(u32(route[token * 2u * params.used + slot % params.used]), params.experts - 1u);
}

fn run(group: vec3<u32>, index: u32) {
    let slots = row_count(params.tail) * params.used;
    for (var e = index; e < params.experts; e += WG) {
        atomicStore(&counts[e], 0u);
    }
    workgroupBarrier();
    for (var slot = index; slot < slots; slot += WG) {
        atomicAdd(&counts[expert_of(slot)], 1u);
    }
    workgroupBarrier();
    if (index == 0u) {
        var at = params.slots_at;
        var tile = 0u;
        for (var e = 0u; e < params.experts; e++) {
            let count = atomicLoad(&counts[e]);
            starts[e] = at;
            for (var done = 0u; done < count; done += TILE_TOKENS) {
                out[4u + tile * 4u] = e;
                out[5u + tile * 4u] = at + done;
                out[6u + tile * 4u] = min(count - done, TILE_TOKENS);
                tile += 1u;
            }
            at += count;
        }
        out[0] = tile;
    }
    workgroupBarrier();
    for (var e = index; e < params.experts; e += WG) {
        atomicStore(&counts[e], starts[e]);
    }
    workgroupBarrier();
    for (var slot = index; slot < slots; slot += WG) {
        out[atomicAdd(&counts[expert_of(slot)], 1u)] = slot;
    }
}
