// Reductions over a workgroup of WG invocations in shared memory; needs no feature. Twins: reduce_subgroup.wgsl,
// reduce_lanes.wgsl. Every invocation calls them in uniform control flow and every one gets the result.
// Two steps, since each costs a barrier: LEADERS invocations add up a share each, then everyone adds up theirs.
const LEADERS: u32 = min(16u, WG);
var<workgroup> reduce_scratch: array<vec4<f32>, WG>;

var<private> lane: u32;

fn workgroup_sum4(value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    reduce_scratch[lane] = value;
    workgroupBarrier();
    if (lane < LEADERS) {
        var share = value;
        for (var i = lane + LEADERS; i < WG; i += LEADERS) {
            share += reduce_scratch[i];
        }
        reduce_scratch[lane] = share;
    }
    workgroupBarrier();
    var total = reduce_scratch[0];
    for (var i = 1u; i < LEADERS; i++) {
        total += reduce_scratch[i];
    }
    return total;
}

fn workgroup_sum(value: f32) -> f32 {
    return workgroup_sum4(vec4<f32>(value, 0.0, 0.0, 0.0)).x;
}

fn workgroup_max(value: f32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane].x = value;
    workgroupBarrier();
    if (lane < LEADERS) {
        var share = value;
        for (var i = lane + LEADERS; i < WG; i += LEADERS) {
            share = max(share, reduce_scratch[i].x);
        }
        reduce_scratch[lane].x = share;
    }
    workgroupBarrier();
    var largest = reduce_scratch[0].x;
    for (var i = 1u; i < LEADERS; i++) {
        largest = max(largest, reduce_scratch[i].x);
    }
    return largest;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    lane = index;
    run(group, index);
}
