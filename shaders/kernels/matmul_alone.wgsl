// matmul.wgsl for adapters that compute on the CPU: nothing is shared, so there are no barriers, which cost more there than
// the work between two of them. Each invocation makes eight rows of eight tokens: neighbours take neighbouring rows, and
// all of them read the same activations.
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;

// Where the units of four rows begin; of rows that do not exist, anywhere.
fn weights_at(place: Place, first: u32) -> vec4<u32> {
    var rows: vec4<u32>;
    for (var i = 0u; i < 4u; i++) {
        let row = weight_row(place, first + i * WG);
        rows[i] = select(row, 0u, row == NOWHERE);
    }
    return rows * params.units;
}

fn inputs_at(place: Place, first: u32) -> vec4<u32> {
    var rows: vec4<u32>;
    for (var i = 0u; i < 4u; i++) {
        rows[i] = input_row(place, min(first + i, place.count - 1u));
    }
    return rows * params.quads;
}

// Four columns of four rows; column by column, as they are multiplied.
fn weights(at: vec4<u32>, quad: u32) -> mat4x4<f32> {
    let units = at + quad / 4u;
    let q = quad % 4u;
    return transpose(mat4x4<f32>(
        unit_quad(units.x, q), unit_quad(units.y, q), unit_quad(units.z, q), unit_quad(units.w, q),
    ));
}

fn inputs(at: vec4<u32>, quad: u32) -> mat4x4<f32> {
    return mat4x4<f32>(x[at.x + quad], x[at.y + quad], x[at.z + quad], x[at.w + quad]);
}

fn put_sums(place: Place, row: u32, token: u32, sums: mat4x4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            put(place, row + i * WG, token + j, sums[j][i]);
        }
    }
}

fn run(group: vec3<u32>, index: u32) {
    let place = tile_place(group);
    if (place.count == 0u) {
        return;
    }
    let w_low = weights_at(place, index);
    let w_high = weights_at(place, index + 4u * WG);
    let x_low = inputs_at(place, 0u);
    let x_high = inputs_at(place, 4u);
    // Columns: tokens, components: rows.
    var low_low = mat4x4<f32>();
    var low_high = mat4x4<f32>();
    var high_low = mat4x4<f32>();
    var high_high = mat4x4<f32>();
    for (var quad = 0u; quad < params.quads; quad++) {
        let w0 = weights(w_low, quad);
        let w1 = weights(w_high, quad);
        let x0 = inputs(x_low, quad);
        let x1 = inputs(x_high, quad);
        low_low += w0 * x0;
        low_high += w0 * x1;
        high_low += w1 * x0;
        high_high += w1 * x1;
    }
    put_sums(place, index, 0u, low_low);
    put_sums(place, index, 4u, low_high);
    put_sums(place, index + 4u * WG, 0u, high_low);
    put_sums(place, index + 4u * WG, 4u, high_high);
}
