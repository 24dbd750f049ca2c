// Between the projections and attention, for one token: optional norm of each query and key head, RoPE, and the append
// to the cache, in one dispatch. Grid: (query heads + 2 * key/value heads).
// qkv holds [queries | keys | values]; queries are turned in place, keys and values go to the cache.
// QK_NORM  heads of queries and keys pass RMSNorm first
// ROPE     queries and keys are rotated
struct Params {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    pairs: u32, // rotated pairs of a head
    eps: f32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> qkv: array<f32>;
@group(0) @binding(4) var<storage, read> q_norm: array<f32>;
@group(0) @binding(5) var<storage, read> k_norm: array<f32>;
@group(0) @binding(6) var<storage, read_write> keys: array<KvQuad>;
@group(0) @binding(7) var<storage, read_write> values: array<KvQuad>;

var<workgroup> head_values: array<f32, MAX_HEAD>;

fn normalize(index: u32, is_query: bool) {
    var squares = 0.0;
    for (var i = index; i < params.head_dim; i += WG) {
        squares += head_values[i] * head_values[i];
    }
    let inverse = inverseSqrt(workgroup_sum(squares) / f32(params.head_dim) + params.eps);
    for (var i = index; i < params.head_dim; i += WG) {
        head_values[i] *= inverse * select(k_norm[i], q_norm[i], is_query);
    }
    workgroupBarrier();
}

fn rotate(index: u32) {
    for (var pair = index; pair < params.pairs; pair += WG) {
        let turn = rotation(state.position, pair, params.pairs);
        let at = pair_elements(pair, params.pairs);
        let a = head_values[at.x];
        let b = head_values[at.y];
        head_values[at.x] = a * turn.x - b * turn.y;
        head_values[at.y] = a * turn.y + b * turn.x;
    }
    workgroupBarrier();
}

fn run(group: vec3<u32>, index: u32) {
    let head = group.x;
    let is_query = head < params.heads;
    let is_value = head >= params.heads + params.kv_heads;
    let base = head * params.head_dim;
    for (var i = index; i < params.head_dim; i += WG) {
        head_values[i] = qkv[base + i];
    }
    workgroupBarrier();
    if (!is_value) {
        if (QK_NORM) {
            normalize(index, is_query);
        }
        if (ROPE) {
            rotate(index);
        }
    }
    if (is_query) {
        for (var i = index; i < params.head_dim; i += WG) {
            qkv[base + i] = head_values[i];
        }
        return;
    }
    let quads = params.head_dim / 4u;
    let kv_head = head - params.heads - select(0u, params.kv_heads, is_value);
    let to_at = (state.position * params.kv_heads + kv_head) * quads;
    for (var i = index; i < quads; i += WG) {
        let at = i * 4u;
        let quad = vec4<f32>(head_values[at], head_values[at + 1u], head_values[at + 2u], head_values[at + 3u]);
        if (is_value) {
            values[to_at + i] = pack_kv(quad);
        } else {
            keys[to_at + i] = pack_kv(quad);
        }
    }
}
