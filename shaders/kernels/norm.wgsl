// RMSNorm or LayerNorm of each run of `width` values. Grid: (runs in a row, tokens).
// NORM      1 RMSNorm, 2 LayerNorm
// WEIGHT    whether there are weights; BIAS likewise
struct Params {
    width: u32,
    stride: u32, // row length of the buffers
    eps: f32,
    tail: u32,   // see row_count
    own: u32,    // runs of a row that have weights of their own; 1 where all share them
    goal: u32,   // 0 out = norm(x), 1 out = norm(out), 2 out += norm(x) (post-norm and residual in one),
                 // 3 out = act(x) * norm(out), 4 out = norm(act(x) * out)
    act: u32,    // see lib/activation.wgsl
    x_at: u32,   // where x begins
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

fn load(i: u32) -> f32 {
    switch params.goal {
        case 1u, 3u: {
            return out[i];
        }
        case 4u: {
            return gated(x[params.x_at + i], out[i], params.act);
        }
        default: {
            return x[params.x_at + i];
        }
    }
}

fn run(group: vec3<u32>, index: u32) {
    if (group.y >= row_count(params.tail)) {
        return;
    }
    let base = group.y * params.stride + group.x * params.width;
    let own_base = group.x % params.own * params.width;
    let n = f32(params.width);
    var mean = 0.0;
    if (NORM == 2u) {
        var sum = 0.0;
        for (var i = index; i < params.width; i += WG) {
            sum += load(base + i);
        }
        mean = workgroup_sum(sum) / n;
    }
    var squares = 0.0;
    for (var i = index; i < params.width; i += WG) {
        let v = load(base + i) - mean;
        squares += v * v;
    }
    let inverse = inverseSqrt(workgroup_sum(squares) / n + params.eps);
    for (var i = index; i < params.width; i += WG) {
        var value = (load(base + i) - mean) * inverse;
        if (WEIGHT) {
            value *= weight[own_base + i];
        }
        if (BIAS) {
            value += bias[own_base + i];
        }
        if (params.goal == 2u) {
            value += out[base + i];
        } else if (params.goal == 3u) {
            value = gated(x[params.x_at + base + i], value, params.act);
        }
        out[base + i] = value;
    }
}
