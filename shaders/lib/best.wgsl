// The best of the candidates that the invocations of a workgroup have, each (bits of the value, index). Of equal values the
// lower index wins, as on the CPU. Two steps, since each costs a barrier: LEADERS invocations look at a share each, then
// the first at theirs. Only the first one gets the result.
const LEADERS: u32 = 16u;
var<workgroup> candidates_here: array<vec2<u32>, WG>;

fn better(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let of_a = bitcast<f32>(a.x);
    let of_b = bitcast<f32>(b.x);
    return select(a, b, of_b > of_a || (of_b == of_a && b.y < a.y));
}

fn best_of_workgroup(candidate: vec2<u32>, index: u32) -> vec2<u32> {
    candidates_here[index] = candidate;
    workgroupBarrier();
    var best = candidate;
    if (index < LEADERS) {
        for (var i = index + LEADERS; i < WG; i += LEADERS) {
            best = better(best, candidates_here[i]);
        }
        candidates_here[index] = best;
    }
    workgroupBarrier();
    if (index == 0u) {
        for (var i = 1u; i < LEADERS; i++) {
            best = better(best, candidates_here[i]);
        }
    }
    return best;
}
