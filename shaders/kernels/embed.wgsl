// Embedding: out[t] = table[id(t)] * scale. Grid: (quads of a row / WG, tokens).
// A table that was split over several buffers runs once per part; each part writes the rows that it holds.
struct Params {
    units: u32,       // 16-weight units per row
    row_start: u32,   // first row of this part
    rows: u32,        // rows of this part
    row_offset: u32,  // where the table begins within the part
    by_position: u32, // 1: the position selects the row (learned positions)
    scale: f32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;

fn run(group: vec3<u32>, index: u32) {
    let quads = params.units * 4u;
    let i = group.x * WG + index;
    let t = group.y;
    if (i >= quads) {
        return;
    }
    let id = select(state.tokens[t], state.position + t, params.by_position == 1u);
    if (id < params.row_start || id - params.row_start >= params.rows) {
        return;
    }
    let row = id - params.row_start + params.row_offset;
    out[t * quads + i] = unit_quad(row * params.units + i / 4u, i % 4u) * params.scale;
}
