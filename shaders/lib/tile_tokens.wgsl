// Which outputs a tile of a mat-mat kernel makes: neighbouring rows for neighbouring tokens. Grid: (rows /
// TILE_ROWS, tokens / TILE_TOKENS). Twin: tile_experts.wgsl.
const NOWHERE: u32 = 0xFFFFFFFFu; // a row that does not exist

struct Params {
    units: u32,       // 16-column units per row
    rows: u32,        // outputs
    row_offset: u32,  // first row of the matrix
    out_width: u32,   // row length of out
    out_offset: u32,
    bias_offset: u32,
    tail: u32,        // see row_count
    quads: u32,       // vectors of four in a row of x; less than units hold where RAGGED
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

struct Place {
    count: u32, // tokens of the tile
    first: u32, // the first of them
    row: u32,   // first row of the tile, counted in the outputs
}

fn tile_place(group: vec3<u32>) -> Place {
    let first = group.y * TILE_TOKENS;
    return Place(min(max(row_count(params.tail), first) - first, TILE_TOKENS), first, group.x * TILE_ROWS);
}

// Where row `i` of the tile lies in the matrix, or NOWHERE.
fn weight_row(place: Place, i: u32) -> u32 {
    return select(NOWHERE, params.row_offset + place.row + i, place.row + i < params.rows);
}

// Row of x for token `i` of the tile.
fn input_row(place: Place, i: u32) -> u32 {
    return place.first + i;
}

fn put(place: Place, row: u32, token: u32, sum: f32) {
    let at = place.row + row;
    if (at >= params.rows || token >= place.count) {
        return;
    }
    var value = sum;
    if (HAS_BIAS) {
        value += bias[params.bias_offset + at];
    }
    out[(place.first + token) * params.out_width + params.out_offset + at] = value;
}
