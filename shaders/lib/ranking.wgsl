// Sorting a span of candidates in shared memory, best first: the larger logit, of equal ones the lower token.
// A candidate is (rank, token). Ranks are the logits' bits, turned so that they compare as integers: no comparison of
// floats decides, which drivers may simplify where NaN or infinity could come.
const SPAN = 1024u;
const KEEP = 64u; // most candidates that a request may ask for
const LOWEST_RANK = 0x007FFFFFu; // of minus infinity
const HIGHEST_RANK = 0xFF7FFFFFu; // of the largest number

@group(0) @binding(2) var<storage, read> source: array<u32>; // `from_logits` 1: logits, 0: pairs of rank and token

var<workgroup> span: array<vec2<u32>, SPAN>;

// As on the CPU: NaN counts as minus infinity, infinity as the largest number.
fn rank_of(bits: u32) -> u32 {
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return LOWEST_RANK;
    }
    if ((bits >> 31u) == 1u) {
        return ~bits;
    }
    return min(bits | 0x80000000u, HIGHEST_RANK);
}

fn logit_of(rank: u32) -> f32 {
    return bitcast<f32>(select(~rank, rank ^ 0x80000000u, (rank >> 31u) == 1u));
}

fn load_span(first: u32, count: u32, index: u32) {
    for (var i = index; i < SPAN; i += WG) {
        var candidate = vec2<u32>(0u, 0xFFFFFFFFu);
        let at = first + i;
        if (at < count) {
            if (params.from_logits == 1u) {
                candidate = vec2<u32>(rank_of(source[at]), at);
            } else {
                candidate = vec2<u32>(source[2u * at], source[2u * at + 1u]);
            }
        }
        span[i] = candidate;
    }
}

fn better(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.x > b.x || (a.x == b.x && a.y < b.y);
}

// Bitonic sort.
fn sort_span(index: u32) {
    for (var size = 2u; size <= SPAN; size *= 2u) {
        for (var stride = size / 2u; stride > 0u; stride /= 2u) {
            workgroupBarrier();
            for (var i = index; i < SPAN / 2u; i += WG) {
                let low = 2u * i - (i & (stride - 1u));
                let high = low + stride;
                let a = span[low];
                let b = span[high];
                if (better(b, a) == ((low & size) == 0u)) {
                    span[low] = b;
                    span[high] = a;
                }
            }
        }
    }
    workgroupBarrier();
}
