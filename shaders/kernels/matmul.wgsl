// Matrix times matrix, for prefill: out[t, r] = dot(w[r], x[t]) + bias[r]. Which rows and tokens: lib/tile_*.wgsl.
// SIDE * SIDE invocations make a square tile of 4 * SIDE rows and tokens: sixteen columns of weights and of activations at
// a time go through shared memory (10 KiB at most), and each invocation keeps 4 x 4 sums in registers. The next columns
// are asked for before these are multiplied.
// Rows of the tiles are five vectors apart although they have four, which spreads them over the memory banks.
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;

const STRIDE: u32 = 5u;
const LOADS: u32 = 16u / SIDE; // vectors of a tile that an invocation brings
var<workgroup> tile_w: array<vec4<f32>, TILE_ROWS * STRIDE>;
var<workgroup> tile_x: array<vec4<f32>, TILE_TOKENS * STRIDE>;

fn load_w(row: u32, unit: u32, quad: u32) -> vec4<f32> {
    if (row == NOWHERE) {
        return vec4<f32>(0.0);
    }
    return unit_quad(row * params.units + unit, quad);
}

fn load_x(row: u32, at: u32) -> vec4<f32> {
    if (row == NOWHERE || (RAGGED && at >= params.quads)) {
        return vec4<f32>(0.0);
    }
    return x[row * params.quads + at];
}

fn run(group: vec3<u32>, index: u32) {
    let place = tile_place(group);
    if (place.count == 0u) {
        return;
    }
    let quad = index % 4u;
    var w_rows: array<u32, LOADS>;
    var x_rows: array<u32, LOADS>;
    var next_w: array<vec4<f32>, LOADS>;
    var next_x: array<vec4<f32>, LOADS>;
    for (var i = 0u; i < LOADS; i++) {
        let at = index / 4u + i * (WG / 4u);
        w_rows[i] = weight_row(place, at);
        x_rows[i] = NOWHERE;
        if (at < place.count) {
            x_rows[i] = input_row(place, at);
        }
        next_w[i] = load_w(w_rows[i], 0u, quad);
        next_x[i] = load_x(x_rows[i], quad);
    }
    let tx = index % SIDE;
    let ty = index / SIDE;
    var sums = mat4x4<f32>(); // column: row of w, component: token
    for (var unit = 0u; unit < params.units; unit++) {
        workgroupBarrier();
        for (var i = 0u; i < LOADS; i++) {
            let at = (index / 4u + i * (WG / 4u)) * STRIDE + quad;
            tile_w[at] = next_w[i];
            tile_x[at] = next_x[i];
        }
        workgroupBarrier();
        if (unit + 1u < params.units) {
            for (var i = 0u; i < LOADS; i++) {
                next_w[i] = load_w(w_rows[i], unit + 1u, quad);
                next_x[i] = load_x(x_rows[i], unit * 4u + 4u + quad);
            }
        }
        for (var q = 0u; q < 4u; q++) {
            let xs = mat4x4<f32>(
                tile_x[ty * STRIDE + q], tile_x[(ty + SIDE) * STRIDE + q],
                tile_x[(ty + 2u * SIDE) * STRIDE + q], tile_x[(ty + 3u * SIDE) * STRIDE + q],
            );
            sums[0] += tile_w[tx * STRIDE + q] * xs;
            sums[1] += tile_w[(tx + SIDE) * STRIDE + q] * xs;
            sums[2] += tile_w[(tx + 2u * SIDE) * STRIDE + q] * xs;
            sums[3] += tile_w[(tx + 3u * SIDE) * STRIDE + q] * xs;
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            put(place, tx + i * SIDE, ty + j * SIDE, sums[i][j]);
        }
    }
}
