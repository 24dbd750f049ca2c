// Activations as bytes, for pack.wgsl: the largest of a block becomes 127. Twin: pack_f16.wgsl.
const WORDS: u32 = 1u; // of four numbers

struct Scale {
    scale: f32,
    inverse: f32,
}

fn scale_of(most: f32) -> Scale {
    return Scale(most / 127.0, select(0.0, 127.0 / most, most > 0.0));
}

// Stores four numbers and returns what they have become.
fn put_quad(at: u32, quad: vec4<f32>) -> vec4<f32> {
    let rounded = round(quad);
    out[at] = pack4xI8(vec4<i32>(rounded));
    return rounded;
}
