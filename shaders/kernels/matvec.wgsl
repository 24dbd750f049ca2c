// Matrix times vector, the whole of decoding: out[r] = epilogue((dot(w[r], norm(x)) + bias[r]) * factor).
// Grid: (groups of ROWS rows in x and y). See lib/rows.wgsl for the product itself.
//
// x may be normalised on the way, by every workgroup anew: it is small and in the cache, and a dispatch costs more than that.
// LAYER_NORM  LayerNorm of x. Otherwise `norm` says whether it is RMSNorm, whose factor is the same for all columns: its sum
//             of squares is taken along the way and the products are scaled at the end.
// GATED       act(row) * row up_offset further on (gated feed-forward)
struct Params {
    units: u32,       // 16-column units per row
    rows: u32,        // outputs
    row_offset: u32,  // first row of the matrix
    up_offset: u32,   // distance from a gate row to its up row
    out_offset: u32,
    bias_offset: u32,
    groups_x: u32,    // workgroups in the grid's x
    eps: f32,
    quads: u32,       // vectors of four in x; less than units hold where RAGGED
    norm: u32,        // 1: RMSNorm of x
    residual: u32,    // 1: the sums are added to out
    factor: f32,      // of the sums
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> norm_bias: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> bias: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

var<private> mean: f32;
var<private> inverse: f32;
var<private> squares: f32; // of the values that this invocation has loaded

fn input_quad(i: u32) -> vec4<f32> {
    if (RAGGED && i >= params.quads) {
        return vec4<f32>(0.0);
    }
    if (LAYER_NORM) {
        return (x[i] - mean) * inverse * norm_weight[i] + norm_bias[i];
    }
    if (params.norm == 1u) {
        let v = x[i];
        squares += dot(v, v);
        return v * norm_weight[i];
    }
    return x[i];
}

fn prepare_layer_norm(index: u32) {
    let n = f32(params.quads * 4u);
    var sum = vec4<f32>(0.0);
    for (var i = index; i < params.quads; i += WG) {
        sum += x[i];
    }
    mean = workgroup_sum(dot(sum, vec4<f32>(1.0))) / n;
    var variance = 0.0;
    for (var i = index; i < params.quads; i += WG) {
        let v = x[i] - mean;
        variance += dot(v, v);
    }
    inverse = inverseSqrt(workgroup_sum(variance) / n + params.eps);
}

fn run(group: vec3<u32>, index: u32) {
    let row = (group.y * params.groups_x + group.x) * ROWS;
    if (row >= params.rows) {
        return;
    }
    if (LAYER_NORM) {
        prepare_layer_norm(index);
    }
    let first = (params.row_offset + row) * params.units;
    let sums = dot_rows(first, params.up_offset * params.units, params.units, index);
    let totals = workgroup_sums(sums, index);
    var factor = 1.0;
    if (params.norm == 1u) {
        factor = inverseSqrt(workgroup_sum(squares) / f32(params.quads * 4u) + params.eps);
    }
    for (var r = index; r < min(ROWS, params.rows - row); r += WG) {
        let total = total_of(totals, r) * factor;
        finish(row + r, total.x, total.y);
    }
}

fn finish(row: u32, sum: f32, sum_up: f32) {
    var value = sum;
    if (HAS_BIAS) {
        value += bias[params.bias_offset + row];
    }
    if (GATED) {
        var up = sum_up;
        if (HAS_BIAS) {
            up += bias[params.bias_offset + params.up_offset + row];
        }
        value = gated(value, up, ACT);
    } else {
        value = activate(value * params.factor, ACT);
    }
    let at = params.out_offset + row;
    if (params.residual == 1u) {
        value += out[at];
    }
    out[at] = value;
}
