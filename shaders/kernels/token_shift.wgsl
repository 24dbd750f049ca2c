// out = for each row of weight, x + (before - x) * row, side by side; before is the row of x before this one.
// Grid: (channels / WG). An invocation takes a channel through the whole chunk and keeps its last value for the next one.
struct Params {
    channels: u32,
    rows: u32, // of weight
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> kept: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn run(group: vec3<u32>, index: u32) {
    let channel = group.x * WG + index;
    if (channel >= params.channels) {
        return;
    }
    var before = kept[channel];
    for (var t = 0u; t < state.count; t++) {
        let value = x[t * params.channels + channel];
        for (var j = 0u; j < params.rows; j++) {
            let at = j * params.channels + channel;
            out[t * params.rows * params.channels + at] = value + (before - value) * weight[at];
        }
        before = value;
    }
    kept[channel] = before;
}
