// Attention of many positions, as attention.wgsl computes it for one: a workgroup takes up to sixteen queries of the heads
// that share keys and values, so that each key and value is read once for all of them (after FlashAttention, Dao 2022).
// Grid: (key/value heads * blocks of sixteen heads that share one, tiles of tokens).
//
// For each block of 32 keys:
// 1. scores of 16 x 32: eight quads of the heads at a time go through shared memory, each invocation keeps four sums
// 2. eight invocations a row update its running maximum and sum, and make weights of the scores
// 3. invocations share the quads of the head; groups of them ("slots") share the rows
// SINKS, BIAS as in attention.wgsl. SLOT_ROWS: rows of a slot at most.
@group(0) @binding(3) var<storage, read> keys: array<KvQuad>;
@group(0) @binding(4) var<storage, read> values: array<KvQuad>;

const ROWS: u32 = 16u;
const KEYS: u32 = 32u;
const SLICE: u32 = 8u;
// One more than is used: spreads rows over the memory banks.
const KEY_STRIDE: u32 = 9u;
const SCORE_STRIDE: u32 = 33u;

var<workgroup> q_tile: array<vec4<f32>, 128>;
var<workgroup> k_tile: array<vec4<f32>, 288>;
var<workgroup> scores: array<f32, 528>;
var<workgroup> parts: array<f32, WG>;
var<workgroup> shrinks: array<f32, ROWS>;
var<workgroup> totals: array<f32, ROWS>;

// Control flow with barriers in it looks at none of these: compilers must see that it is the same for all.
var<private> first_head: u32;
var<private> first_token: u32;
var<private> row_heads: u32; // heads of a token in the tile

struct Row {
    exists: bool,
    token: u32,
    head: u32,
    first: u32, // of the positions that it sees
    end: u32,
}

fn tile_row(r: u32) -> Row {
    let token = first_token + r / row_heads;
    let head = first_head + r % row_heads;
    // The heads of a block end with those that share this key/value head.
    let in_group = first_head % params.group_size + r % row_heads < params.group_size;
    let exists = r < ROWS / row_heads * row_heads && token < state.count && in_group;
    return Row(exists, token, head, first_seen(token), end_seen(token));
}

fn load_slice(index: u32, slice: u32, block: u32, end: u32, kv_base: u32) {
    let row = tile_row(index / SLICE);
    let quad = slice + index % SLICE;
    var loaded = vec4<f32>(0.0);
    if (row.exists && quad < params.head_quads) {
        loaded = q[row.token * params.q_stride + row.head * params.head_quads + quad] * params.scale;
    }
    q_tile[index] = loaded;
    for (var i = index; i < KEYS * SLICE; i += WG) {
        let key = block + i / SLICE;
        let key_quad = slice + i % SLICE;
        var part = vec4<f32>(0.0);
        if (key < end && key_quad < params.head_quads) {
            part = unpack_kv(keys[key * params.kv_stride + kv_base + key_quad]);
        }
        k_tile[i / SLICE * KEY_STRIDE + i % SLICE] = part;
    }
}

fn run(group: vec3<u32>, index: u32) {
    let blocks = (params.group_size + ROWS - 1u) / ROWS;
    let kv_head = group.x / blocks;
    let tile_tokens = ROWS / min(params.group_size, ROWS);
    let start = group.y * tile_tokens;
    if (start >= state.count) {
        return;
    }
    row_heads = min(params.group_size, ROWS);
    first_head = kv_head * params.group_size + group.x % blocks * ROWS;
    first_token = start;
    let quads = params.head_quads;
    let kv_base = kv_head * quads;
    // Whole blocks from the beginning of the text on: a row's sums do not depend on where its chunk begins.
    let first = first_seen(start) / KEYS * KEYS;
    let end = end_seen(min(start + tile_tokens, state.count) - 1u);
    let slots = min(WG / quads, ROWS);
    let slot = index / quads;
    let quad = index % quads;
    // The row whose maximum and sum this invocation keeps, with seven others.
    let mine = tile_row(index / 8u);
    let mine_at = index / 8u * SCORE_STRIDE + index % 8u * 4u;
    var largest = -1e30;
    var total = 0.0;
    var sums: array<vec4<f32>, SLOT_ROWS>;
    for (var block = first; block < end; block += KEYS) {
        let key = block + index % KEYS;
        let row_base = index / KEYS * 4u;
        var dots = vec4<f32>(0.0);
        for (var slice = 0u; slice < quads; slice += SLICE) {
            workgroupBarrier();
            load_slice(index, slice, block, end, kv_base);
            workgroupBarrier();
            for (var i = 0u; i < SLICE; i++) {
                let k = k_tile[index % KEYS * KEY_STRIDE + i];
                dots += vec4<f32>(
                    dot(q_tile[row_base * SLICE + i], k), dot(q_tile[(row_base + 1u) * SLICE + i], k),
                    dot(q_tile[(row_base + 2u) * SLICE + i], k), dot(q_tile[(row_base + 3u) * SLICE + i], k),
                );
            }
        }
        for (var r = 0u; r < 4u; r++) {
            let row = tile_row(row_base + r);
            var score = -1e30;
            if (row.exists && key >= row.first && key < row.end) {
                score = finished_score(dots[r], state.position + row.token, key, row.head);
            }
            scores[(row_base + r) * SCORE_STRIDE + index % KEYS] = score;
        }
        workgroupBarrier();
        parts[index] = max(max(scores[mine_at], scores[mine_at + 1u]), max(scores[mine_at + 2u], scores[mine_at + 3u]));
        workgroupBarrier();
        var new_largest = largest;
        for (var i = 0u; i < 8u; i++) {
            new_largest = max(new_largest, parts[index / 8u * 8u + i]);
        }
        workgroupBarrier();
        var sum = 0.0;
        for (var i = 0u; i < 4u; i++) {
            let score = scores[mine_at + i];
            let weight = select(0.0, exp(score - new_largest), score > -1e30);
            scores[mine_at + i] = weight;
            sum += weight;
        }
        parts[index] = sum;
        let shrink = exp(largest - new_largest);
        if (index % 8u == 0u) {
            shrinks[index / 8u] = shrink;
        }
        workgroupBarrier();
        total *= shrink;
        for (var i = 0u; i < 8u; i++) {
            total += parts[index / 8u * 8u + i];
        }
        largest = new_largest;
        if (slot < slots) {
            for (var i = 0u; i < SLOT_ROWS; i++) {
                sums[i] *= shrinks[min(slot + i * slots, ROWS - 1u)];
            }
            for (var j = 0u; j < min(KEYS, end - block); j++) {
                let value = unpack_kv(values[(block + j) * params.kv_stride + kv_base + quad]);
                for (var i = 0u; i < SLOT_ROWS; i++) {
                    sums[i] += scores[min(slot + i * slots, ROWS - 1u) * SCORE_STRIDE + j] * value;
                }
            }
        }
    }
    var shrink = 1.0;
    if (SINKS && mine.exists) {
        let new_largest = max(largest, extra[mine.head]);
        shrink = exp(largest - new_largest);
        total = total * shrink + exp(extra[mine.head] - new_largest);
    }
    workgroupBarrier();
    if (index % 8u == 0u) {
        shrinks[index / 8u] = shrink;
        totals[index / 8u] = total;
    }
    workgroupBarrier();
    if (slot >= slots) {
        return;
    }
    for (var i = 0u; i < SLOT_ROWS; i++) {
        let r = slot + i * slots;
        let row = tile_row(r);
        if (r < ROWS && row.exists) {
            out[row.token * params.out_stride + row.head * quads + quad] = sums[i] * (shrinks[r] / totals[r]);
        }
    }
}
