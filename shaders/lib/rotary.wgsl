// Rotary angles by position, exact at any distance: position = 256 * high + low, and the rotation by it is the product
// of two rotations that were computed in double precision. (Sines of large arguments are unreliable on GPUs.)
// Table: pairs of (cos, sin); first 256 rows for `low` with the magnitude in them, then the rows for `high`.
@group(0) @binding(ROTARY_BINDING) var<storage, read> rotary: array<vec2<f32>>;

fn rotation(position: u32, pair: u32, pairs: u32) -> vec2<f32> {
    let low = rotary[(position % 256u) * pairs + pair];
    let high = rotary[(256u + position / 256u) * pairs + pair];
    return vec2<f32>(low.x * high.x - low.y * high.y, low.x * high.y + low.y * high.x);
}

// Elements of a pair. HALVES: (i, i + pairs), else (2 i, 2 i + 1).
fn pair_elements(pair: u32, pairs: u32) -> vec2<u32> {
    if (HALVES) {
        return vec2<u32>(pair, pair + pairs);
    }
    return vec2<u32>(2u * pair, 2u * pair + 1u);
}

// The pair of an element.
fn pair_of(element: u32, pairs: u32) -> u32 {
    if (HALVES) {
        return element % pairs;
    }
    return element / 2u;
}
