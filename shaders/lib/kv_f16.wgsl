// Keys and values as f16, packed in pairs, which needs no `shader-f16`. Twin: kv_f32.wgsl.
alias KvQuad = vec2<u32>;

fn pack_kv(value: vec4<f32>) -> KvQuad {
    let v = clamp(value, vec4<f32>(-65504.0), vec4<f32>(65504.0));
    return vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));
}

fn unpack_kv(quad: KvQuad) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(quad.x), unpack2x16float(quad.y));
}
