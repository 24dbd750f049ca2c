// Convolution over time, each channel by itself: out[t, c] = act(bias[c] + sum_j weight[c, j] * x[t - taps + 1 + j, c]).
// Grid: (channels / WG). An invocation takes a channel through the whole chunk and then keeps the last `taps - 1` values
// for the next one: nobody else reads them, so nothing has to wait.
// GATED: a row of x is b, c and v side by side; what is convolved is b * v, and c multiplies the result (LFM2).
struct Params {
    channels: u32,
    taps: u32,
    x_at: u32, // where x begins
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> kept: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

// Value `at` of what was kept, oldest first, and the chunk behind it.
fn history(at: u32, channel: u32) -> f32 {
    let before = params.taps - 1u;
    if (at < before) {
        return kept[at * params.channels + channel];
    }
    let t = at - before;
    if (GATED) {
        let i = params.x_at + 3u * t * params.channels + channel;
        return x[i] * x[i + 2u * params.channels];
    }
    return x[params.x_at + t * params.channels + channel];
}

fn run(group: vec3<u32>, index: u32) {
    let channel = group.x * WG + index;
    if (channel >= params.channels) {
        return;
    }
    for (var t = 0u; t < state.count; t++) {
        var sum = 0.0;
        if (HAS_BIAS) {
            sum = bias[channel];
        }
        for (var j = 0u; j < params.taps; j++) {
            sum += weight[channel * params.taps + j] * history(t + j, channel);
        }
        var value = activate(sum, ACT);
        if (GATED) {
            value *= x[params.x_at + (3u * t + 1u) * params.channels + channel];
        }
        out[t * params.channels + channel] = value;
    }
    for (var j = 0u; j + 1u < params.taps; j++) {
        kept[j * params.channels + channel] = history(state.count + j, channel);
    }
}
