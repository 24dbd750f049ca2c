// What both kernels of attention take, and what becomes of a product of a query and a key.
// SLOPES: each head subtracts the distance times a slope of its own (ALiBi).
// BIAS: each head adds to its scores what `extra` has for the bucket of the distance; bucket_of is generated.
struct Params {
    head_quads: u32,  // head_dim / 4
    group_size: u32,  // query heads per key/value head
    q_stride: u32,    // quads from one token's queries to the next
    kv_stride: u32,   // quads of a position in the cache
    out_stride: u32,
    back: u32,        // positions seen before the current one
    ahead: u32,       // and behind it
    memory: u32,      // 1: the positions are the encoder's
    scale: f32,
    cap: f32,         // 0: none
    splits: u32,      // parts of the keys
    heads: u32,
    steepest: f32,    // of SLOPES: negative exponent of the last slope
    // Of a new token's heads (NEW in attention.wgsl):
    pairs: u32,       // rotated pairs of a head
    eps: f32,         // of their norms
    norm_of_all: u32, // 1: queries and keys are normalised over all heads together
    norm_last: u32,   // 1: behind the rotation, which changes no length
    norm_values: u32, // 1: each head of values is normalised too
    growth: f32,      // of queries with the position
    growth_step: u32, // positions
    q_head_quads: u32, // from one query to the next; more than head_quads: behind each is a gate of the result
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> extra: array<f32>; // of heads, or of buckets and heads
@group(0) @binding(6) var<storage, read_write> out: array<vec4<f32>>;

fn slope_of(head: u32) -> f32 {
    let n = 1u << firstLeadingBit(params.heads);
    var step = f32(head) + 1.0;
    if (head >= n) {
        step = f32(head - n) + 0.5;
    }
    return exp2(-params.steepest * step / f32(n));
}

// The score of a key, of its product with a query that is scaled already.
fn finished_score(product: f32, position: u32, key: u32, head: u32) -> f32 {
    var score = product;
    if (BIAS) {
        var bucket = 0u;
        if (key > position) {
            bucket = LATER_BUCKETS + bucket_of(key - position);
        } else {
            bucket = bucket_of(position - key);
        }
        score += extra[bucket * params.heads + head];
    }
    if (SLOPES) {
        score -= slope_of(head) * f32(max(position, key) - min(position, key));
    }
    if (params.cap > 0.0) {
        score = params.cap * tanh(clamp(score / params.cap, -10.0, 10.0));
    }
    return score;
}

// Positions that the encoder has read, or that there are with this chunk.
fn known_positions() -> u32 {
    return select(state.position + state.count, state.memory, params.memory == 1u);
}

// The first position that a token sees, and the end of those.
fn first_seen(token: u32) -> u32 {
    let position = state.position + token;
    return select(0u, position - params.back, position > params.back);
}

fn end_seen(token: u32) -> u32 {
    return min(state.position + token + params.ahead + 1u, known_positions());
}
