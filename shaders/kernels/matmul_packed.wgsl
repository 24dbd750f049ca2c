// Matrix times matrix with less than f32, for prefill: as matmul.wgsl, with the activations as pack.wgsl has rounded them
// and the weights as the integers that they are. The factors of both come in after every SUB columns, in f32.
// What a tile holds and how it is multiplied: lib/words_f16.wgsl, lib/words_int8.wgsl.
//
// A turn takes 32 columns. Tiles lie column by column, so that neighbours read neighbours; 11 KiB of shared memory at most.
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>; // for 32 columns: two units and a vector of factors

const ITEMS: u32 = 16u / SIDE;        // units of weights or of activations that an invocation brings
const BLOCK: u32 = 2u * VECTORS + 1u; // vectors of 32 columns of x
const RUN: u32 = WORDS * SUB / 16u;   // words that share a scale
var<workgroup> tile_w: array<Word, 2u * WORDS * PLANE>;
var<workgroup> tile_x: array<Word, 2u * WORDS * PLANE>;
var<workgroup> factors_w: array<vec4<f32>, TILE_ROWS>; // scale and minimum of each half
var<workgroup> factors_x: array<vec4<f32>, TILE_ROWS>; // scale, sum of each half, sum of both

// A unit on its way into the tiles.
struct Item {
    codes: Codes,
    factors: vec4<f32>,
}

// Where an item stands: a row of the tile, and which half of the 32 columns.
struct Source {
    is_w: bool,
    at: u32,
    half: u32,
    row: u32, // of the matrix or of x, or NOWHERE
}

// Neighbours bring the two halves of a row, which lie side by side.
fn source(place: Place, item: u32) -> Source {
    let at = item / 2u % TILE_ROWS;
    let half = item % 2u;
    if (item < 2u * TILE_ROWS) {
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
        item.codes[0] = unit_bytes(unit);
        let factors = scale_min(unit);
        // With the minimum comes back what CENTER has taken from the integers.
        item.factors = vec4<f32>(factors.x, factors.y - CENTER * factors.x, 0.0, 0.0);
    } else {
        let at = (origin.row * (params.units / 2u) + block) * BLOCK;
        for (var i = 0u; i < VECTORS; i++) {
            item.codes[i] = x[at + origin.half * VECTORS + i];
        }
        if (origin.half == 0u) {
            item.factors = bitcast<vec4<f32>>(x[at + 2u * VECTORS]);
        }
    }
    return item;
}

fn store(origin: Source, item: Item) {
    for (var i = 0u; i < WORDS; i++) {
        let at = (origin.half * WORDS + i) * PLANE + origin.at;
        if (origin.is_w) {
            tile_w[at] = weight_word(item.codes[0], i);
        } else {
            tile_x[at] = input_word(item.codes, i);
        }
    }
    if (origin.half == 0u && !origin.is_w) {
        factors_x[origin.at] = item.factors;
    } else if (origin.half == 0u) {
        factors_w[origin.at].x = item.factors.x;
        factors_w[origin.at].y = item.factors.y;
    } else if (origin.is_w) {
        factors_w[origin.at].z = item.factors.x;
        factors_w[origin.at].w = item.factors.y;
    }
}

// Products of the columns that share a scale, for 4 x 4 rows and tokens, with their factors.
fn products(first: u32, tx: u32, ty: u32) -> mat4x4<f32> {
    var parts: array<Sum, 16>;
    for (var word = first; word < first + RUN; word++) {
        let at = word * PLANE;
        let ws = array<Word, 4>(
            tile_w[at + tx], tile_w[at + tx + SIDE], tile_w[at + tx + 2u * SIDE], tile_w[at + tx + 3u * SIDE],
        );
        for (var j = 0u; j < 4u; j++) {
            let xs = tile_x[at + ty + j * SIDE];
            for (var i = 0u; i < 4u; i++) {
                parts[i * 4u + j] = add_product(parts[i * 4u + j], ws[i], xs);
            }
        }
    }
    var sums: mat4x4<f32>;
    for (var j = 0u; j < 4u; j++) {
        let fx = factors_x[ty + j * SIDE];
        for (var i = 0u; i < 4u; i++) {
            var fw = factors_w[tx + i * SIDE].xy;
            var x_sum = fx.w;
            if (SUB == 16u) {
                x_sum = select(fx.y, fx.z, first > 0u);
                fw = select(fw, factors_w[tx + i * SIDE].zw, first > 0u);
            }
            sums[i][j] = fx.x * fw.x * total(parts[i * 4u + j]);
            if (HAS_MIN) {
                sums[i][j] -= fw.y * x_sum;
            }
        }
    }
    return sums;
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
        for (var first = 0u; first < 2u * WORDS; first += RUN) {
            sums += products(first, tx, ty);
        }
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            put(place, tx + i * SIDE, ty + j * SIDE, sums[i][j]);
        }
    }
}
