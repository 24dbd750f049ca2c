// Selective state space of Mamba 2 (Dao & Gu 2024). Each head has h [state_dim, head_dim]; for each token, with
// d = softplus(dt + dt_bias):  h = h * exp(a * d) + d * B (x) x;  out = C h + skip * x.
// Grid: (heads, values of a head / WG). An invocation takes a column of h through the whole chunk.
struct Params {
    heads: u32,
    head_dim: u32,
    groups: u32,
    state_dim: u32,
    dt_at: u32, // where dt begins
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> xbc: array<f32>;
@group(0) @binding(3) var<storage, read> dt: array<f32>;
@group(0) @binding(4) var<storage, read> dt_bias: array<f32>;
@group(0) @binding(5) var<storage, read> a: array<f32>;
@group(0) @binding(6) var<storage, read> skip: array<f32>;
@group(0) @binding(7) var<storage, read_write> kept: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let head = group.x;
    let column = group.y * WG + index;
    if (column >= params.head_dim) {
        return;
    }
    let inner = params.heads * params.head_dim;
    let width = inner + 2u * params.groups * params.state_dim;
    let value_at = head * params.head_dim + column;
    let group_at = head / (params.heads / params.groups) * params.state_dim;
    let at = head * params.state_dim * params.head_dim + column;
    for (var t = 0u; t < state.count; t++) {
        let x = xbc[t * width + value_at];
        let step = softplus(dt[params.dt_at + t * params.heads + head] + dt_bias[head]);
        let decay = exp(a[head] * step);
        let b = t * width + inner + group_at;
        let c = b + params.groups * params.state_dim;
        var sum = skip[head] * x;
        for (var n = 0u; n < params.state_dim; n++) {
            let i = at + n * params.head_dim;
            let next = kept[i] * decay + xbc[b + n] * x * step;
            kept[i] = next;
            sum += next * xbc[c + n];
        }
        out[t * inner + value_at] = sum;
    }
}
