// Attention of one query head at one position: out = softmax(cap(q . k * scale)) v, with an online softmax
// (Milakov & Gimelshein 2018) over blocks of WG keys. Grid: (query heads, tokens, splits of the keys).
//
// 1. each invocation scores one key of the block
// 2. the block's maximum and sum update the running ones
// 3. invocations share the quads of the head; groups of them ("slots") share the keys
// NEW: q holds [queries | keys | values] of one token as they were projected. Each workgroup makes the query of its head and
// the key of its position, and begins the softmax with that key's score; the positions before are in the cache. One
// workgroup of those that share a key also appends it and its value: nobody reads them from there in this dispatch.
// QK_NORM  heads of queries and keys pass RMSNorm first; `extra` has the weights for queries
// ROPE     queries and keys are rotated
// SINKS: each head has a score that takes its share of the softmax and adds nothing.
// BIAS: as in lib/attention.wgsl.
// With several splits the keys are divided over the grid's z; each part leaves (sum of weighted values, maximum, sum of weights)
// for attention_combine.wgsl.
@group(0) @binding(3) var<storage, read_write> keys: array<KvQuad>;
@group(0) @binding(4) var<storage, read_write> values: array<KvQuad>;
@group(0) @binding(7) var<storage, read> k_norm: array<f32>;

var<workgroup> query: array<vec4<f32>, MAX_HEAD_QUADS>;
var<workgroup> weights: array<f32, WG>;
var<workgroup> slot_sums: array<vec4<f32>, WG>;

fn score(key: u32, kv_base: u32, position: u32, head: u32) -> f32 {
    var sum = 0.0;
    // Beginning at no constant, so that nobody unrolls it: Mesa's software driver would for each dispatch anew.
    let base = key * params.kv_stride + kv_base;
    for (var at = base; at < base + params.head_quads; at++) {
        sum += dot(query[at - base], unpack_kv(keys[at]));
    }
    return finished_score(sum * params.scale, position, key, head);
}

// A head of a new token's queries or keys.
struct Head {
    base: u32,      // its first quad in q
    weight_at: u32, // its first weight of the norm
    is_query: bool,
    inverse: f32,   // factor of the norm
}

var<private> value_factor: f32 = 1.0;

fn norm_factor(head: Head, element: u32) -> f32 {
    if (!QK_NORM) {
        return 1.0;
    }
    if (head.is_query) {
        return head.inverse * extra[head.weight_at + element];
    }
    return head.inverse * k_norm[head.weight_at + element];
}

fn projected(head: Head, element: u32) -> f32 {
    return q[head.base + element / 4u][element % 4u];
}

// An element after norm and rotation.
fn turned(head: Head, element: u32) -> f32 {
    if (!ROPE || element >= 2u * params.pairs) {
        return projected(head, element) * norm_factor(head, element);
    }
    let pair = pair_of(element, params.pairs);
    let at = pair_elements(pair, params.pairs);
    let turn = rotation(state.position, pair, params.pairs);
    var factors = vec2<f32>(norm_factor(head, at.x), norm_factor(head, at.y));
    if (params.norm_last == 1u) {
        factors = vec2<f32>(norm_factor(head, element));
    }
    let a = projected(head, at.x) * factors.x;
    let b = projected(head, at.y) * factors.y;
    return select(a * turn.y + b * turn.x, a * turn.x - b * turn.y, element == at.x);
}

fn turned_quad(head: Head, quad: u32) -> vec4<f32> {
    let first = 4u * quad;
    return vec4<f32>(
        turned(head, first), turned(head, first + 1u), turned(head, first + 2u), turned(head, first + 3u),
    );
}

// The first quad of a head of values.
fn value_base(kv_base: u32) -> u32 {
    return params.heads * params.q_head_quads + params.kv_stride + kv_base;
}

// The value of the new position, as the cache has it.
fn new_value(kv_base: u32, quad: u32) -> KvQuad {
    return pack_kv(q[value_base(kv_base) + quad] * value_factor);
}

// This invocation's share of the sum of squares of some quads.
fn squares(first: u32, count: u32, index: u32) -> f32 {
    var sum = 0.0;
    for (var i = index; i < count; i += WG) {
        let v = q[first + i];
        sum += dot(v, v);
    }
    return sum;
}

// Makes the query and the new key, which is appended with its value if `appends`; returns their product.
fn new_product(head: u32, kv_base: u32, index: u32, appends: bool) -> f32 {
    let quads = params.head_quads;
    let q_quads = params.heads * params.q_head_quads;
    var of_query = Head(head * params.q_head_quads, 0u, true, 1.0);
    var of_key = Head(q_quads + kv_base, 0u, false, 1.0);
    if (QK_NORM) {
        var first = vec2<u32>(of_query.base, of_key.base);
        var count = vec2<u32>(quads);
        if (params.norm_of_all == 1u) {
            first = vec2<u32>(0u, q_quads);
            count = vec2<u32>(q_quads, params.kv_stride);
            of_query.weight_at = head * quads * 4u;
            of_key.weight_at = kv_base * 4u;
        }
        let shares = vec3<f32>(
            squares(first.x, count.x, index), squares(first.y, count.y, index),
            squares(value_base(kv_base), quads, index),
        );
        let means = workgroup_sum4(vec4<f32>(shares, 0.0)).xyz / vec3<f32>(4u * vec3<u32>(count, quads));
        let inverse = inverseSqrt(means + params.eps);
        of_query.inverse = inverse.x;
        of_key.inverse = inverse.y;
        value_factor = select(1.0, inverse.z, params.norm_values == 1u);
    }
    var product = 0.0;
    if (index < quads) {
        let growth = 1.0 + params.growth * log(1.0 + f32(state.position / params.growth_step));
        let mine = turned_quad(of_query, index) * growth;
        let key = pack_kv(turned_quad(of_key, index));
        query[index] = mine;
        product = dot(mine, unpack_kv(key));
        if (appends) {
            let at = state.position * params.kv_stride + kv_base + index;
            keys[at] = key;
            values[at] = new_value(kv_base, index);
        }
    }
    return workgroup_sum(product);
}

fn run(group: vec3<u32>, index: u32) {
    let head = group.x;
    let t = group.y;
    if (t >= state.count) {
        return;
    }
    let quads = params.head_quads;
    let kv_base = head / params.group_size * quads;
    let slots = WG / quads;
    let slot = index / quads;
    let quad = index % quads;
    let position = state.position + t;
    var largest = -1e30;
    var total = 0.0;
    var sum = vec4<f32>(0.0);
    var end_all = end_seen(t);
    if (NEW) {
        end_all = position;
        let appends = group.z == 0u && head % params.group_size == 0u;
        let product = new_product(head, kv_base, index, appends);
        if (group.z == 0u) {
            largest = finished_score(product * params.scale, position, position, head);
            total = 1.0;
            if (slot == 0u) {
                sum = unpack_kv(new_value(kv_base, quad));
            }
        }
    } else if (index < quads) {
        query[index] = q[t * params.q_stride + head * quads + index];
    }
    workgroupBarrier();
    let first_all = first_seen(t);
    var first = first_all;
    var end = end_all;
    if (params.splits > 1u) {
        let share = (end_all - first_all + params.splits - 1u) / params.splits;
        first = min(first_all + group.z * share, end_all);
        end = min(first + share, end_all);
    }
    for (var block = first; block < end; block += WG) {
        var mine = -1e30;
        if (block + index < end) {
            mine = score(block + index, kv_base, position, head);
        }
        let new_largest = max(largest, workgroup_max(mine));
        let weight = select(0.0, exp(mine - new_largest), block + index < end);
        weights[index] = weight;
        let shrink = exp(largest - new_largest);
        total = total * shrink + workgroup_sum(weight);
        sum *= shrink;
        largest = new_largest;
        let in_block = min(WG, end - block);
        if (slot < slots) {
            for (var j = slot; j < in_block; j += slots) {
                sum += weights[j] * unpack_kv(values[(block + j) * params.kv_stride + kv_base + quad]);
            }
        }
    }
    if (SINKS && group.z == 0u) {
        let new_largest = max(largest, extra[head]);
        let shrink = exp(largest - new_largest);
        total = total * shrink + exp(extra[head] - new_largest);
        sum *= shrink;
        largest = new_largest;
    }
    slot_sums[index] = sum;
    workgroupBarrier();
    if (index >= quads) {
        return;
    }
    for (var s = 1u; s < slots; s++) {
        sum += slot_sums[s * quads + index];
    }
    if (NEW && params.q_head_quads > quads) {
        sum /= 1.0 + exp(-q[head * params.q_head_quads + quads + index]);
    }
    if (params.splits > 1u) {
        let at = (head * params.splits + group.z) * (quads + 1u);
        out[at + index] = sum;
        if (index == 0u) {
            out[at + quads] = vec4<f32>(largest, total, 0.0, 0.0);
        }
    } else {
        out[t * params.out_stride + head * quads + index] = sum / total;
    }
}
