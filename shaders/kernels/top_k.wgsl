// The best candidates of each span, best first. Repeated on its own results until one span holds them all.
// Grid: (spans).
struct Params {
    count: u32, // candidates in the source
    from_logits: u32, // see lib/ranking.wgsl
}
@group(0) @binding(1) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> out: array<vec2<u32>>;

fn run(group: vec3<u32>, index: u32) {
    load_span(group.x * SPAN, params.count, index);
    sort_span(index);
    if (index < KEEP) {
        out[group.x * KEEP + index] = span[index];
    }
}
