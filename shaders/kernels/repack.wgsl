// Brings blocks of GGUF, as they stand in the file, into the planes of a weight format. A module of shaders/blocks reads them:
// block_codes(block, unit) gives the 16 codes of a unit, four in a word; block_scale(block, sub) scale and minimum of a
// sub-block. An invocation takes RUN units, which end with a whole word of scales. Grid: (units / RUN / WG).
struct Params {
    block: u32, // byte at which the first block begins
    unit: u32,  // its first unit in the planes
    units: u32, // how many there are
    weight: u32, // not zero; told where a scale is beyond f16
}
@group(0) @binding(0) var<storage, read> bytes: array<u32>;
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read_write> quants: array<u32>;
@group(0) @binding(3) var<storage, read_write> scales: array<u32>;
@group(0) @binding(4) var<storage, read_write> fault: atomic<u32>;

const SUB_UNITS = SUB / 16u;

fn block_of(unit: u32) -> u32 {
    return params.block + unit / BLOCK_UNITS * BLOCK_BYTES;
}

fn store_codes(unit: u32) {
    let codes = block_codes(block_of(unit), unit % BLOCK_UNITS);
    let to = (params.unit + unit) * UNIT_WORDS;
    if (UNIT_WORDS == 4u) {
        quants[to] = codes.x;
        quants[to + 1u] = codes.y;
        quants[to + 2u] = codes.z;
        quants[to + 3u] = codes.w;
        return;
    }
    let nibbles = codes & vec4<u32>(NIBBLES);
    quants[to] = nibbles.x | (nibbles.y << 4u);
    quants[to + 1u] = nibbles.z | (nibbles.w << 4u);
    if (UNIT_WORDS == 3u) {
        let upper = (codes >> vec4<u32>(4u)) & vec4<u32>(0x03030303u);
        quants[to + 2u] = upper.x | (upper.y << 2u) | (upper.z << 4u) | (upper.w << 6u);
    }
}

fn scale_of(unit: u32) -> vec2<f32> {
    return block_scale(block_of(unit), unit % BLOCK_UNITS / SUB_UNITS);
}

// The word of scales that begins with that of a unit.
fn scale_word(unit: u32) -> u32 {
    let first = scale_of(unit);
    if (SCALE_F32) {
        return bitcast<u32>(first.x);
    }
    let low = half_bits(first.x);
    if (HAS_MIN) {
        return low | (half_bits(first.y) << 16u);
    }
    let second = unit + SUB_UNITS;
    if (second >= params.units) {
        return low;
    }
    return low | (half_bits(scale_of(second).x) << 16u);
}

fn run(group: vec3<u32>, index: u32) {
    let start = (group.x * WG + index) * RUN;
    let end = min(start + RUN, params.units);
    for (var unit = start; unit < end; unit++) {
        store_codes(unit);
    }
    let step = select(2u, 1u, HAS_MIN || SCALE_F32) * SUB_UNITS;
    for (var unit = start; unit < end; unit += step) {
        scales[(params.unit + unit) / step] = scale_word(unit);
    }
    if (beyond) {
        atomicMax(&fault, params.weight);
    }
}
