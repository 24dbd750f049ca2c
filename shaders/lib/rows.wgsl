// Dot products of ROWS neighbouring rows with one vector, the work of a workgroup in matvec.wgsl and moe_matvec.wgsl.
// The kernel gives `input_quad`, four values of the vector.
//
// A turn takes WG units of 16 columns, one for each invocation. Their weights are asked for first, since they come from
// far away; meanwhile the vector goes into shared memory, so that it is read from the cache in whole lines. There the
// four quads of a unit lie WG + 2 vectors apart: neighbours read neighbours, and no two of eight writes meet in a bank.
// GATED  the rows `up_units` units further on are multiplied with the same vector
const STRIDE: u32 = WG + 2u;
var<workgroup> tile: array<vec4<f32>, STRIDE * 4u>;

struct Sums {
    rows: array<f32, ROWS>,
    up: array<f32, ROWS>,
}

// This invocation's share; workgroup_sums adds them up.
fn dot_rows(first: u32, up_units: u32, units: u32, index: u32) -> Sums {
    var sums: Sums;
    for (var base = 0u; base < units; base += WG) {
        let inside = base + index < units;
        var weights: array<Unit, ROWS>;
        var up: array<Unit, ROWS>;
        if (inside) {
            for (var r = 0u; r < ROWS; r++) {
                weights[r] = unit_load(first + r * units + base + index);
                if (GATED) {
                    up[r] = unit_load(first + up_units + r * units + base + index);
                }
            }
        }
        if (base > 0u) {
            workgroupBarrier();
        }
        for (var i = index; i < min(WG, units - base) * 4u; i += WG) {
            tile[(i % 4u) * STRIDE + i / 4u] = input_quad(base * 4u + i);
        }
        workgroupBarrier();
        if (inside) {
            let part = mat4x4<f32>(
                tile[index], tile[STRIDE + index], tile[2u * STRIDE + index], tile[3u * STRIDE + index],
            );
            let total = dot(part[0] + part[1] + part[2] + part[3], vec4<f32>(1.0));
            for (var r = 0u; r < ROWS; r++) {
                sums.rows[r] += unit_dot(weights[r], part, total);
                if (GATED) {
                    sums.up[r] += unit_dot(up[r], part, total);
                }
            }
        }
    }
    return sums;
}

// What an invocation gets of the sums: invocation `r` has that of row `r` in x and that of its up row in y.
alias Totals = vec2<f32>;

fn total_of(totals: Totals, r: u32) -> vec2<f32> {
    return totals;
}

// Between two products: what the first one shares is no longer read.
fn end_turn() {
    workgroupBarrier();
}

// Adds up the shares.
fn workgroup_sums(sums: Sums, index: u32) -> Totals {
    var mine = vec2<f32>(0.0);
    if (GATED) {
        for (var r = 0u; r < ROWS; r += 2u) {
            let last = min(r + 1u, ROWS - 1u);
            let total = workgroup_sum4(vec4<f32>(sums.rows[r], sums.up[r], sums.rows[last], sums.up[last]));
            mine = select(mine, total.xy, index == r);
            mine = select(mine, total.zw, index == r + 1u);
        }
        return mine;
    }
    for (var r = 0u; r < ROWS; r += 4u) {
        var four = vec4<f32>(sums.rows[r], 0.0, 0.0, 0.0);
        if (ROWS > 1u) {
            four.y = sums.rows[min(r + 1u, ROWS - 1u)];
        }
        if (ROWS > 2u) {
            four.z = sums.rows[min(r + 2u, ROWS - 1u)];
            four.w = sums.rows[min(r + 3u, ROWS - 1u)];
        }
        let total = workgroup_sum4(four);
        for (var j = 0u; j < min(ROWS, 4u); j++) {
            mine.x = select(mine.x, total[j], index == r + j);
        }
    }
    return mine;
}
