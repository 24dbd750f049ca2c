// Joins the parts that attention.wgsl left when it split the keys of one position. Grid: (query heads).
struct Params {
    head_quads: u32,
    splits: u32,
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;

fn run(group: vec3<u32>, index: u32) {
    let quads = params.head_quads;
    let base = group.x * params.splits * (quads + 1u);
    var largest = -1e30;
    for (var s = 0u; s < params.splits; s++) {
        largest = max(largest, parts[base + s * (quads + 1u) + quads].x);
    }
    for (var quad = index; quad < quads; quad += WG) {
        var sum = vec4<f32>(0.0);
        var total = 0.0;
        for (var s = 0u; s < params.splits; s++) {
            let at = base + s * (quads + 1u);
            let weight = exp(parts[at + quads].x - largest);
            sum += weight * parts[at + quad];
            total += weight * parts[at + quads].y;
        }
        out[group.x * quads + quad] = sum / total;
    }
}
