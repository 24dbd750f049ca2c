// Matrix times vector, the whole of decoding: out[r] = epilogue(dot(w[r], norm(x)) + bias[r]).
// Grid: (groups of 4 rows in x and y). Each invocation takes every WG-th unit of 16 columns and keeps its part of x
// in registers for all rows; one reduction at the end.
//
// NORM      0 none, 1 RMSNorm, 2 LayerNorm of x, computed anew by every workgroup: x is small and in the cache,
//           and a dispatch costs more than that.
// EPILOGUE  0 store, 1 add to out (residual), 2 act(row) * row up_offset further on (gated feed-forward)
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
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read> norm_bias: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> bias: array<f32>;
@group(0) @binding(8) var<storage, read_write> out: array<f32>;

var<private> mean: f32;
var<private> inverse: f32;

fn load_quad(i: u32) -> vec4<f32> {
    if (RAGGED && i >= params.quads) {
        return vec4<f32>(0.0);
    }
    if (NORM == 1u) {
        return x[i] * inverse * norm_weight[i];
    }
    if (NORM == 2u) {
        return (x[i] - mean) * inverse * norm_weight[i] + norm_bias[i];
    }
    return x[i];
}

fn prepare_norm(index: u32) {
    let n = f32(params.quads * 4u);
    if (NORM == 2u) {
        var sum = vec4<f32>(0.0);
        for (var i = index; i < params.quads; i += WG) {
            sum += x[i];
        }
        mean = workgroup_sum(dot(sum, vec4<f32>(1.0))) / n;
    }
    if (NORM != 0u) {
        var squares = 0.0;
        for (var i = index; i < params.quads; i += WG) {
            let v = x[i] - mean;
            squares += dot(v, v);
        }
        inverse = inverseSqrt(workgroup_sum(squares) / n + params.eps);
    }
}

fn run(group: vec3<u32>, index: u32) {
    let row = (group.y * params.groups_x + group.x) * 4u;
    if (row >= params.rows) {
        return;
    }
    prepare_norm(index);
    let first = (params.row_offset + row) * params.units;
    let first_up = first + params.up_offset * params.units;
    var sum = vec4<f32>(0.0);
    var sum_up = vec4<f32>(0.0);
    for (var unit = index; unit < params.units; unit += WG) {
        let q = unit * 4u;
        let part = mat4x4<f32>(load_quad(q), load_quad(q + 1u), load_quad(q + 2u), load_quad(q + 3u));
        let total = dot(part[0] + part[1] + part[2] + part[3], vec4<f32>(1.0));
        sum += vec4<f32>(
            unit_dot(first + unit, part, total),
            unit_dot(first + params.units + unit, part, total),
            unit_dot(first + 2u * params.units + unit, part, total),
            unit_dot(first + 3u * params.units + unit, part, total),
        );
        if (EPILOGUE == 2u) {
            sum_up += vec4<f32>(
                unit_dot(first_up + unit, part, total),
                unit_dot(first_up + params.units + unit, part, total),
                unit_dot(first_up + 2u * params.units + unit, part, total),
                unit_dot(first_up + 3u * params.units + unit, part, total),
            );
        }
    }
    sum = workgroup_sum4(sum);
    if (EPILOGUE == 2u) {
        sum_up = workgroup_sum4(sum_up);
    }
    if (index < 4u && row + index < params.rows) {
        finish(row + index, sum[index], sum_up[index]);
    }
}

fn finish(row: u32, sum: f32, sum_up: f32) {
    var value = sum;
    if (HAS_BIAS) {
        value += bias[params.bias_offset + row];
    }
    if (EPILOGUE == 2u) {
        var up = sum_up;
        if (HAS_BIAS) {
            up += bias[params.bias_offset + params.up_offset + row];
        }
        value = gated(value, up);
    } else {
        value = activate(value);
    }
    let at = params.out_offset + row;
    if (EPILOGUE == 1u) {
        value += out[at];
    }
    out[at] = value;
}
