// Dot products of ROWS neighbouring rows with one vector, the work of an invocation that shares nothing with others: for
// adapters that compute on the CPU, where a barrier costs more than anything else. Twin: rows.wgsl, which says the rest.
struct Sums {
    rows: array<f32, ROWS>,
    up: array<f32, ROWS>,
}

alias Totals = Sums;

fn dot_rows(first: u32, up_units: u32, units: u32, index: u32) -> Sums {
    var sums: Sums;
    for (var unit = 0u; unit < units; unit++) {
        let part = mat4x4<f32>(
            input_quad(unit * 4u), input_quad(unit * 4u + 1u), input_quad(unit * 4u + 2u), input_quad(unit * 4u + 3u),
        );
        let total = dot(part[0] + part[1] + part[2] + part[3], vec4<f32>(1.0));
        for (var r = 0u; r < ROWS; r++) {
            let at = first + r * units + unit;
            sums.rows[r] += unit_dot(unit_load(at), part, total);
            if (GATED) {
                sums.up[r] += unit_dot(unit_load(at + up_units), part, total);
            }
        }
    }
    return sums;
}

fn end_turn() {}

fn workgroup_sums(sums: Sums, index: u32) -> Totals {
    return sums;
}

fn total_of(totals: Totals, r: u32) -> vec2<f32> {
    return vec2<f32>(totals.rows[r], totals.up[r]);
}
