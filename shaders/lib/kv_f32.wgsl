// Keys and values as f32. Twin: kv_f16.wgsl.
alias KvQuad = vec4<f32>;

fn pack_kv(value: vec4<f32>) -> KvQuad {
    return value;
}

fn unpack_kv(quad: KvQuad) -> vec4<f32> {
    return quad;
}
