// Attention of one query head at one position: out = softmax(cap(q . k * scale)) v, with an online softmax
// (Milakov & Gimelshein 2018) over blocks of WG keys. Grid: (query heads, tokens, splits of the keys).
//
// 1. each invocation scores one key of the block
// 2. the block's maximum and sum update the running ones
// 3. invocations share the quads of the head; groups of them ("slots") share the keys
// SINKS: each head has a score that takes its share of the softmax and adds nothing.
// BIAS: as in lib/attention.wgsl.
// With several splits the keys are divided over the grid's z; each part leaves (sum of weighted values, maximum, sum of weights)
// for attention_combine.wgsl.
var<workgroup> query: array<vec4<f32>, MAX_HEAD_QUADS>;
var<workgroup> weights: array<f32, WG>;
var<workgroup> slot_sums: array<vec4<f32>, WG>;

fn score(key: u32, kv_base: u32, position: u32, head: u32) -> f32 {
    var sum = 0.0;
    let base = key * params.kv_stride + kv_base;
    for (var i = 0u; i < params.head_quads; i++) {
        sum += dot(query[i], unpack_kv(keys[base + i]));
    }
    return finished_score(sum * params.scale, position, key, head);
}

fn run(group: vec3<u32>, index: u32) {
    let head = group.x;
    let t = group.y;
    if (t >= state.count) {
        return;
    }
    let quads = params.head_quads;
    let kv_base = head / params.group_size * quads;
    for (var i = index; i < quads; i += WG) {
        query[i] = q[t * params.q_stride + head * quads + i];
    }
    workgroupBarrier();
    let position = state.position + t;
    let end_all = end_seen(t);
    let first_all = first_seen(t);
    var first = first_all;
    var end = end_all;
    if (params.splits > 1u) {
        let share = (end_all - first_all + params.splits - 1u) / params.splits;
        first = min(first_all + group.z * share, end_all);
        end = min(first + share, end_all);
    }
    let slots = WG / quads;
    let slot = index / quads;
    let quad = index % quads;
    var largest = -1e30;
    var total = 0.0;
    var sum = vec4<f32>(0.0);
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
