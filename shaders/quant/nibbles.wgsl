// Codes of 4 bits, which q4.wgsl or table4.wgsl makes numbers of. A unit of 16 weights is two words; byte `i` of a word holds
// the code of weight `i` in its low nibble and that of weight `i + 4` in its high one, so that four are one mask away.
@group(0) @binding(2) var<storage, read> w_quants: array<vec2<u32>>;

struct Unit {
    bits: vec2<u32>,
    scale: vec2<f32>,
}

fn unit_load(unit: u32) -> Unit {
    return Unit(w_quants[unit], scale_min(unit));
}

// The word of a unit whose low nibbles are the codes of weights `4 * quad ..`.
fn unit_word(unit: u32, quad: u32) -> u32 {
    let words = w_quants[unit];
    return select(words.x, words.y, quad >= 2u) >> ((quad & 1u) * 4u);
}
