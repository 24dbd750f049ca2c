// Gated delta rule (Yang et al. 2024). Each value head has a matrix S [head_dim of keys, head_dim of values]; for each token
//   S *= exp(a * softplus(alpha + dt));  S += k (x) sigmoid(beta) * (v - k S);  out = q S / sqrt(head_dim)
// with queries and keys brought to length 1. Grid: (value heads, columns of S / WG). An invocation takes a column of S
// through the whole chunk: columns do not see each other, tokens come in order.
struct Params {
    key_heads: u32,
    value_heads: u32,
    head_dim: u32,
    eps: f32, // smallest length that queries and keys are divided by
    alpha_at: u32, // where alpha begins
    beta_at: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
@group(0) @binding(3) var<storage, read> alpha: array<f32>;
@group(0) @binding(4) var<storage, read> beta: array<f32>;
@group(0) @binding(5) var<storage, read> dt: array<f32>;
@group(0) @binding(6) var<storage, read> a: array<f32>;
@group(0) @binding(7) var<storage, read_write> matrix: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

var<workgroup> query: array<f32, MAX_HEAD>;
var<workgroup> key: array<f32, MAX_HEAD>;

fn run(group: vec3<u32>, index: u32) {
    let n = params.head_dim;
    let head = group.x;
    let column = group.y * WG + index;
    let key_at = head % params.key_heads * n;
    let key_width = params.key_heads * n;
    let width = 2u * key_width + params.value_heads * n;
    let at = head * n * n + column;
    for (var t = 0u; t < state.count; t++) {
        let row = t * width;
        var squares = vec4<f32>(0.0);
        workgroupBarrier();
        for (var i = index; i < n; i += WG) {
            let q = qkv[row + key_at + i];
            let k = qkv[row + key_width + key_at + i];
            query[i] = q;
            key[i] = k;
            squares += vec4<f32>(q * q, k * k, 0.0, 0.0);
        }
        // The sum ends with a barrier, so that everybody sees the query and the key.
        let lengths = max(sqrt(workgroup_sum4(squares).xy), vec2<f32>(params.eps));
        let gate = t * params.value_heads + head;
        let decay = exp(a[head] * softplus(alpha[params.alpha_at + gate] + dt[head]));
        let rate = 1.0 / (1.0 + exp(-beta[params.beta_at + gate]));
        if (column < n) {
            var known = 0.0;
            for (var i = 0u; i < n; i++) {
                known += matrix[at + i * n] * key[i];
            }
            let value = qkv[row + 2u * key_width + head * n + column];
            let delta = (value - known * decay / lengths.y) * rate / lengths.y;
            var read = 0.0;
            for (var i = 0u; i < n; i++) {
                let next = matrix[at + i * n] * decay + key[i] * delta;
                matrix[at + i * n] = next;
                read += next * query[i];
            }
            out[(t * params.value_heads + head) * n + column] = read / (lengths.x * sqrt(f32(n)));
        }
    }
}
