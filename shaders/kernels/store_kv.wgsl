// Appends keys and values of the chunk to the cache of a layer. Grid: (quads of a row / WG, tokens).
struct Params {
    quads: u32, // of a position
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> keys: array<KvQuad>;
@group(0) @binding(5) var<storage, read_write> values: array<KvQuad>;

fn run(group: vec3<u32>, index: u32) {
    let i = group.x * WG + index;
    if (i >= params.quads || group.y >= state.count) {
        return;
    }
    let from_at = group.y * params.quads + i;
    let to_at = (state.position + group.y) * params.quads + i;
    keys[to_at] = pack_kv(k[from_at]);
    values[to_at] = pack_kv(v[from_at]);
}
