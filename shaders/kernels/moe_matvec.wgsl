// Matrix times vector with the rows of the expert that the token has chosen. Grid: (rows / ROWS, chosen experts, tokens).
// The twin of matvec.wgsl for mixtures, for a single token; many go through the tiles of lib/tile_experts.wgsl.
struct Params {
    units: u32,      // 16-column units per row
    rows: u32,       // outputs of an expert
    stride: u32,     // rows from one expert to the next
    offset: u32,     // first row within an expert
    part_start: u32, // first row of this part of the matrix
    part_rows: u32,
    used: u32,
    shared_x: u32,   // 1: all experts of a token have the same input
    tail: u32,       // see row_count
    quads: u32,      // vectors of four in an input; less than units hold where RAGGED
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

fn run(group: vec3<u32>, index: u32) {
    if (group.z >= row_count(params.tail)) {
        return;
    }
    let expert = u32(route[group.z * 2u * params.used + group.y]);
    let slot = group.z * params.used + group.y;
    let row = group.x * ROWS;
    let from_row = expert * params.stride + params.offset + row;
    x_base = select(slot, group.z, params.shared_x == 1u) * params.quads;
    // A group of rows may reach over the end of a part: what lies outside is computed and thrown away.
    let first = (from_row - params.part_start) * params.units;
    let mine = workgroup_sums(dot_rows(first, 0u, params.units, index), index);
    let at = from_row + index;
    if (index < ROWS && row + index < params.rows && at >= params.part_start
        && at - params.part_start < params.part_rows) {
        var value = mine.x;
        if (HAS_BIAS) {
            value += bias[at];
        }
        out[slot * params.rows + row + index] = value;
    }
}
