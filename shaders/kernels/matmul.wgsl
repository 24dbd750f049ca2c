// Matrix times matrix, for prefill: out[t, r] = dot(w[r], x[t]) + bias[r].
// Grid: (rows / 64, tokens / 64). A workgroup of 256 makes a tile of 64 x 64: sixteen columns of weights and of
// activations at a time go through shared memory (10 KiB), and each invocation keeps 4 x 4 sums in registers.
// Rows of the tiles are five vectors apart although they have four, which spreads them over the memory banks.
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
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> bias: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;

const STRIDE: u32 = 5u;
var<workgroup> tile_w: array<vec4<f32>, 320>;
var<workgroup> tile_x: array<vec4<f32>, 320>;

fn run(group: vec3<u32>, index: u32) {
    let tokens = row_count(params.tail);
    let row_base = group.x * 64u;
    let token_base = group.y * 64u;
    if (token_base >= tokens) {
        return;
    }
    let load_row = index / 4u;
    let quad = index % 4u;
    let tx = index % 16u;
    let ty = index / 16u;
    let w_unit = (params.row_offset + row_base + load_row) * params.units;
    let x_quad = (token_base + load_row) * params.quads + quad;
    let has_w = row_base + load_row < params.rows;
    let has_x = token_base + load_row < tokens;
    var sums = mat4x4<f32>(); // column: row of w, component: token
    for (var unit = 0u; unit < params.units; unit++) {
        workgroupBarrier();
        var w_part = vec4<f32>(0.0);
        var x_part = vec4<f32>(0.0);
        if (has_w) {
            w_part = unit_quad(w_unit + unit, quad);
        }
        if (has_x && (!RAGGED || unit * 4u + quad < params.quads)) {
            x_part = x[x_quad + unit * 4u];
        }
        tile_w[load_row * STRIDE + quad] = w_part;
        tile_x[load_row * STRIDE + quad] = x_part;
        workgroupBarrier();
        for (var q = 0u; q < 4u; q++) {
            let xs = mat4x4<f32>(
                tile_x[ty * STRIDE + q], tile_x[(ty + 16u) * STRIDE + q],
                tile_x[(ty + 32u) * STRIDE + q], tile_x[(ty + 48u) * STRIDE + q],
            );
            sums[0] += tile_w[tx * STRIDE + q] * xs;
            sums[1] += tile_w[(tx + 16u) * STRIDE + q] * xs;
            sums[2] += tile_w[(tx + 32u) * STRIDE + q] * xs;
            sums[3] += tile_w[(tx + 48u) * STRIDE + q] * xs;
        }
    }
    for (var i = 0u; i < 4u; i++) {
        let row = row_base + tx + i * 16u;
        if (row >= params.rows) {
            continue;
        }
        var offset = 0.0;
        if (HAS_BIAS) {
            offset = bias[params.bias_offset + row];
        }
        for (var j = 0u; j < 4u; j++) {
            let token = token_base + ty + j * 16u;
            if (token < tokens) {
                out[token * params.out_width + params.out_offset + row] = sums[i][j] + offset;
            }
        }
    }
}
