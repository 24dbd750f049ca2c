// Embedding: out[t] = table[id(t)] * scale. Grid: (quads of a row / WG, tokens).
// A table that was split over several buffers runs once per part; each part writes the rows that it holds.
struct Params {
    units: u32,       // 16-weight units per row
    row_start: u32,   // first row of this part
    rows: u32,        // rows of this part
    row_offset: u32,  // where the table begins within the part
    source: u32,      // of the row's number: see row_number
    scale: f32,
    quads: u32,       // vectors of four in a row of out
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

// SOURCE 0 the token, 1 its position (learned positions), 2 whether its text is the second of a pair, 3 always 0
fn row_number(t: u32) -> u32 {
    let position = state.position + t;
    switch params.source {
        case 0u: { return state.tokens[t]; }
        case 1u: { return position; }
        case 2u: { return u32(position >= state.second); }
        default: { return 0u; }
    }
}

fn run(group: vec3<u32>, index: u32) {
    let quads = params.quads;
    let i = group.x * WG + index;
    let t = group.y;
    if (i >= quads || t >= state.count) {
        return;
    }
    let id = row_number(t);
    if (id < params.row_start || id - params.row_start >= params.rows) {
        return;
    }
    let row = id - params.row_start + params.row_offset;
    out[t * quads + i] = unit_quad(row * params.units + i / 4u, i % 4u) * params.scale;
}
