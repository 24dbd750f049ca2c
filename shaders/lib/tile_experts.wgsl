// Which outputs a tile of a mat-mat kernel makes: neighbouring rows of one expert for tokens that have chosen it, as
// moe_group.wgsl has sorted them. Grid: (rows / TILE_ROWS, tiles of tokens). Twin: tile_tokens.wgsl.
const NOWHERE: u32 = 0xFFFFFFFFu; // a row that does not exist

struct Params {
    units: u32,      // 16-column units per row
    rows: u32,       // outputs of an expert
    stride: u32,     // rows from one expert to the next
    offset: u32,     // first row of the first expert, counted in the matrix
    part_start: u32, // first row of this part of the matrix
    part_rows: u32,
    used: u32,
    shared_x: u32,   // 1: all experts of a token have the same input
    quads: u32,      // vectors of four in an input; less than units hold where RAGGED
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<storage, read> sorted: array<u32>; // as moe_group.wgsl writes it

struct Place {
    count: u32,  // tokens of the tile
    first: u32,  // where the first of them stands in the sorted list
    row: u32,    // first row of the tile, counted in the expert's outputs
    expert: u32, // the expert's first row in all parts of the matrix
}

fn tile_place(group: vec3<u32>) -> Place {
    if (group.y >= sorted[0]) {
        return Place(0u, 0u, 0u, 0u);
    }
    let tile = 4u + group.y * 4u;
    let expert = sorted[tile] * params.stride + params.offset;
    return Place(sorted[tile + 2u], sorted[tile + 1u], group.x * TILE_ROWS, expert);
}

// Where row `i` of the tile lies in this part of the matrix, or NOWHERE.
fn weight_row(place: Place, i: u32) -> u32 {
    let row = place.expert + place.row + i;
    let inside = place.row + i < params.rows && row >= params.part_start && row - params.part_start < params.part_rows;
    return select(NOWHERE, row - params.part_start, inside);
}

// Row of x for token `i` of the tile.
fn input_row(place: Place, i: u32) -> u32 {
    let slot = sorted[place.first + i];
    return select(slot, slot / params.used, params.shared_x == 1u);
}

fn put(place: Place, row: u32, token: u32, sum: f32) {
    if (token >= place.count || weight_row(place, row) == NOWHERE) {
        return;
    }
    var value = sum;
    if (HAS_BIAS) {
        value += bias[place.expert + place.row + row];
    }
    out[sorted[place.first + token] * params.rows + place.row + row] = value;
}
