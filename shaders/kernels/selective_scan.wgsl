// Selective state space of Mamba (Gu & Dao 2023). Each channel has h [state_dim]; for each token, with d = softplus(dt):
// h = h * exp(a * d) + d * x * B;  out = C h + skip * x.
// Grid: (channels / WG). An invocation takes a channel through the whole chunk.
struct Params {
    channels: u32,
    state_dim: u32,
    bc_width: u32, // of a row of bc
    bc_at: u32,    // where B begins in it; C follows
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> dt: array<f32>;
@group(0) @binding(4) var<storage, read> bc: array<f32>;
@group(0) @binding(5) var<storage, read> a: array<f32>;
@group(0) @binding(6) var<storage, read> skip: array<f32>;
@group(0) @binding(7) var<storage, read_write> kept: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let channel = group.x * WG + index;
    if (channel >= params.channels) {
        return;
    }
    for (var t = 0u; t < state.count; t++) {
        let at = t * params.channels + channel;
        let value = x[at];
        let step = softplus(dt[at]);
        let b = t * params.bc_width + params.bc_at;
        let c = b + params.state_dim;
        var sum = skip[channel] * value;
        for (var n = 0u; n < params.state_dim; n++) {
            let i = n * params.channels + channel;
            let next = kept[i] * exp(a[channel * params.state_dim + n] * step) + bc[b + n] * value * step;
            kept[i] = next;
            sum += next * bc[c + n];
        }
        out[at] = sum;
    }
}
