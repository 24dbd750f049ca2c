// Matrix times vector with the rows of the experts that the token has chosen. The twin of matvec.wgsl for mixtures, for a
// single token; many go through the tiles of lib/tile_experts.wgsl. Grid: (rows / ROWS, chosen experts, tokens).
//
// GATED  act(row) * row up_offset further on
// SUM    one token's experts together, each times its weight, for which the grid has one place
struct Params {
    units: u32,      // 16-column units per row
    rows: u32,       // outputs of an expert
    stride: u32,     // rows from one expert to the next
    offset: u32,     // first row of the first expert, counted in the matrix
    part_start: u32, // first row of this part of the matrix
    part_rows: u32,
    used: u32,
    shared_x: u32,   // 1: all experts of a token have the same input
    tail: u32,       // see row_count
    quads: u32,      // vectors of four in an input; less than units hold where RAGGED
    up_offset: u32,  // distance from a gate row to its up row
    residual: u32,   // 1: the sum of the experts is added to out
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> route: array<f32>;
@group(0) @binding(6) var<storage, read> bias: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;

var<private> x_base: u32;

// A vector of four of an input; nothing behind its end.
fn input_quad(i: u32) -> vec4<f32> {
    if (RAGGED && i >= params.quads) {
        return vec4<f32>(0.0);
    }
    return x[x_base + i];
}

// The first row of a token's j-th expert, counted in the matrix.
fn expert_row(token: u32, j: u32) -> u32 {
    return u32(route[token * 2u * params.used + j]) * params.stride + params.offset;
}

// A group of rows may reach over the end of a part: what lies outside is computed and thrown away.
fn expert_sums(token: u32, j: u32, row: u32, index: u32) -> Sums {
    x_base = select(token * params.used + j, token, params.shared_x == 1u) * params.quads;
    let first = (expert_row(token, j) + row - params.part_start) * params.units;
    return dot_rows(first, params.up_offset * params.units, params.units, index);
}

fn sum_of_experts(row: u32, index: u32) {
    var sums: Sums;
    for (var j = 0u; j < params.used; j++) {
        if (j > 0u) {
            end_turn();
        }
        let weight = route[params.used + j];
        let of_expert = expert_sums(0u, j, row, index);
        for (var r = 0u; r < ROWS; r++) {
            sums.rows[r] += weight * of_expert.rows[r];
        }
    }
    let totals = workgroup_sums(sums, index);
    for (var r = index; r < ROWS && row + r < params.rows; r += WG) {
        var value = total_of(totals, r).x;
        let at = row + r;
        if (HAS_BIAS) {
            for (var j = 0u; j < params.used; j++) {
                value += route[params.used + j] * bias[expert_row(0u, j) + at];
            }
        }
        if (params.residual == 1u) {
            value += out[at];
        }
        out[at] = value;
    }
}

fn run(group: vec3<u32>, index: u32) {
    if (group.z >= row_count(params.tail)) {
        return;
    }
    let row = group.x * ROWS;
    if (SUM) {
        sum_of_experts(row, index);
        return;
    }
    let totals = workgroup_sums(expert_sums(group.z, group.y, row, index), index);
    let first = expert_row(group.z, group.y) + row;
    for (var r = index; r < ROWS && row + r < params.rows; r += WG) {
        let at = first + r;
        if (at >= params.part_start && at - params.part_start < params.part_rows) {
            let total = total_of(totals, r);
            var value = total.x;
            if (HAS_BIAS) {
                value += bias[at];
            }
            if (GATED) {
                value = gated(value, total.y, ACT);
            } else {
                value = activate(value, ACT);
            }
            out[(group.z * params.used + group.y) * params.rows + row + r] = value;
        }
    }
}
