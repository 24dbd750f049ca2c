// Matrix times matrix in integers, for prefill: as matmul.wgsl, with the activations rounded to eight bits by
// pack_int8.wgsl and the weights as the integers that they are, four products an instruction. The factors of both come in
// after every 32 columns, in f32.
// Tiles lie column by column, so that neighbours read neighbours. 6 KiB of shared memory at most.
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>; // three vectors for 32 columns, see pack_int8.wgsl

const ITEMS: u32 = 16u / SIDE; // units of weights or of activations that an invocation brings
var<workgroup> tile_w: array<vec4<u32>, TILE * 2u>;
var<workgroup> tile_x: array<vec4<u32>, TILE * 2u>;
var<workgroup> factors_w: array<vec4<f32>, TILE>; // scale and minimum of each half
var<workgroup> factors_x: array<vec4<f32>, TILE>; // scale, sum of each half, sum of both

// A unit on its way into the tiles.
struct Item {
    codes: vec4<u32>,
    factors: vec4<f32>,
}

// Where an item stands: a row of the tile, and which half of the 32 columns.
struct Source {
    is_w: bool,
    at: u32,
    half: u32,
    row: u32, // of the matrix or of x, or NOWHERE
}

fn source(place: Place, item: u32) -> Source {
    let at = item % TILE;
    let half = item / TILE % 2u;
    if (item < 2u * TILE) {
        return Source(true, at, half, weight_row(place, at));
    }
    var row = NOWHERE;
    if (at < place.count) {
        row = input_row(place, at);
    }
    return Source(false, at, half, row);
}

fn load(origin: Source, block: u32) -> Item {
    var item: Item;
    if (origin.row == NOWHERE) {
        return item;
    }
    if (origin.is_w) {
        let unit = origin.row * params.units + block * 2u + origin.half;
        item.codes = unit_bytes(unit);
        item.factors = vec4<f32>(scale_min(unit), 0.0, 0.0);
    } else {
        let at = (origin.row * (params.units / 2u) + block) * 3u;
        item.codes = x[at + origin.half];
        if (origin.half == 0u) {
            item.factors = bitcast<vec4<f32>>(x[at + 2u]);
        }
    }
    return item;
}

fn store(origin: Source, item: Item) {
    let at = origin.half * TILE + origin.at;
    if (origin.is_w) {
        tile_w[at] = item.codes;
        if (origin.half == 0u) {
            factors_w[origin.at].x = item.factors.x;
            factors_w[origin.at].y = item.factors.y;
        } else {
            factors_w[origin.at].z = item.factors.x;
            factors_w[origin.at].w = item.factors.y;
        }
    } else {
        tile_x[at] = item.codes;
        if (origin.half == 0u) {
            factors_x[origin.at] = item.factors;
        }
    }
}

fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// Product of 32 columns: codes of weights and activations, then their factors.
fn product(w: array<vec4<u32>, 2>, x: array<vec4<u32>, 2>, fw: vec4<f32>, fx: vec4<f32>) -> f32 {
    let low = dot16(w[0], x[0]);
    let high = dot16(w[1], x[1]);
    if (SUB == 32u) {
        let sum = fw.x * fx.x * f32(low + high);
        return select(sum, sum - fw.y * fx.w, HAS_MIN);
    }
    let sum = fx.x * (fw.x * f32(low) + fw.z * f32(high));
    return select(sum, sum - fw.y * fx.y - fw.w * fx.z, HAS_MIN);
}

fn run(group: vec3<u32>, index: u32) {
    let place = tile_place(group);
    if (place.count == 0u) {
        return;
    }
    var sources: array<Source, ITEMS>;
    var next: array<Item, ITEMS>;
    for (var i = 0u; i < ITEMS; i++) {
        sources[i] = source(place, index + i * WG);
        next[i] = load(sources[i], 0u);
    }
    let tx = index % SIDE;
    let ty = index / SIDE;
    let blocks = params.units / 2u;
    var sums = mat4x4<f32>(); // column: row of w, component: token
    for (var block = 0u; block < blocks; block++) {
        workgroupBarrier();
        for (var i = 0u; i < ITEMS; i++) {
            store(sources[i], next[i]);
        }
        workgroupBarrier();
        if (block + 1u < blocks) {
            for (var i = 0u; i < ITEMS; i++) {
                next[i] = load(sources[i], block + 1u);
            }
        }
        for (var j = 0u; j < 4u; j++) {
            let t = ty + j * SIDE;
            let codes = array<vec4<u32>, 2>(tile_x[t], tile_x[TILE + t]);
            let fx = factors_x[t];
            for (var i = 0u; i < 4u; i++) {
                let r = tx + i * SIDE;
                let weights = array<vec4<u32>, 2>(tile_w[r], tile_w[TILE + r]);
                sums[i][j] += product(weights, codes, factors_w[r], fx);
            }
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            put(place, tx + i * SIDE, ty + j * SIDE, sums[i][j]);
        }
    }
}
