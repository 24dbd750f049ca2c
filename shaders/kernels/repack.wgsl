// Brings blocks of GGUF, as they stand in the file, into the planes of a weight format. Modules of shaders/blocks read them,
// one for each type that the model has: codes_TYPE(block, unit) gives the 16 codes of a unit, four in a word;
// scale_TYPE(block, sub) scale and minimum of a sub-block. The host writes repack_codes(start, end) and
// repack_scales(start, end), which have a loop for each type and skip those of others. (A loop, since some adapters run every
// branch.) Neighbours take neighbouring units, RUN of them each. Grid: (units / RUN / WG).
struct Params {
    block: u32,  // byte at which the first block begins
    unit: u32,   // its first unit in the planes
    units: u32,  // how many there are
    weight: u32, // not zero; told where a scale is beyond f16
    dtype: u32,  // GGML's number of the type
}
@group(0) @binding(0) var<storage, read> bytes: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> quants: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;
@group(0) @binding(4) var<storage, read_write> fault: atomic<u32>;

var<private> lane: u32;

// Where a loop ends: at once in those of other types.
fn end_for(dtype: u32, end: u32) -> u32 {
    return select(0u, end, params.dtype == dtype);
}

fn block_of(unit: u32, block_units: u32, block_bytes: u32) -> u32 {
    return params.block + unit / block_units * block_bytes;
}

fn store_q4(unit: u32, codes: vec4<u32>) {
    let to = (params.unit + unit) * 2u;
    let nibbles = codes & vec4<u32>(NIBBLES);
    quants[to] = nibbles.x | (nibbles.y << 4u);
    quants[to + 1u] = nibbles.z | (nibbles.w << 4u);
}

fn store_q6(unit: u32, codes: vec4<u32>) {
    let to = (params.unit + unit) * 3u;
    let nibbles = codes & vec4<u32>(NIBBLES);
    let upper = (codes >> vec4<u32>(4u)) & vec4<u32>(0x03030303u);
    quants[to] = nibbles.x | (nibbles.y << 4u);
    quants[to + 1u] = nibbles.z | (nibbles.w << 4u);
    quants[to + 2u] = upper.x | (upper.y << 2u) | (upper.z << 4u) | (upper.w << 6u);
}

fn store_q8(unit: u32, codes: vec4<u32>) {
    let to = (params.unit + unit) * 4u;
    quants[to] = codes.x;
    quants[to + 1u] = codes.y;
    quants[to + 2u] = codes.z;
    quants[to + 3u] = codes.w;
}

// The first unit of the sub-block whose scale shares a word with that of `unit`.
fn second_of(unit: u32, sub: u32) -> u32 {
    return min(unit + sub, params.units - sub);
}

// Its scale, zero where there is none any more.
fn of_second(unit: u32, sub: u32, scale: f32) -> f32 {
    return select(0.0, scale, unit + sub < params.units);
}

fn run(group: vec3<u32>, index: u32) {
    lane = index;
    let start = group.x * WG * RUN;
    let end = min(start + WG * RUN, params.units);
    repack_codes(start, end);
    repack_scales(start, end);
    if (beyond) {
        atomicMax(&fault, params.weight);
    }
}
