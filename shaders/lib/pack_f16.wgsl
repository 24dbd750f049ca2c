// Activations as halves, for pack.wgsl: a power of two brings the largest of a block between 4 and 8. Then 32 products with
// integers of eight bits stay below 32 * 128 * 8 = 32768, half of what f16 holds, whatever the model; and what is too small
// for f16 is less than a millionth of the largest. Needs no `shader-f16` itself. Twin: pack_int8.wgsl.
const WORDS: u32 = 2u; // of four numbers

struct Scale {
    scale: f32,
    inverse: f32,
}

fn scale_of(most: f32) -> Scale {
    // The exponent as it stands in the bits: logarithms are not exact on GPUs. Both powers must be normal numbers.
    let exponent = clamp(bitcast<u32>(most) >> 23u, 3u, 254u);
    return Scale(bitcast<f32>((exponent - 2u) << 23u), bitcast<f32>((256u - exponent) << 23u));
}

// Stores four numbers and returns what they have become.
fn put_quad(at: u32, quad: vec4<f32>) -> vec4<f32> {
    let low = pack2x16float(quad.xy);
    let high = pack2x16float(quad.zw);
    out[at] = low;
    out[at + 1u] = high;
    return vec4<f32>(unpack2x16float(low), unpack2x16float(high));
}
