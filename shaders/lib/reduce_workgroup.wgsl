// Reductions over a workgroup of WG invocations in shared memory; needs no feature. Twin: reduce_subgroup.wgsl.
// Every invocation calls them in uniform control flow and every one gets the result.
var<workgroup> reduce_scratch: array<vec4<f32>, WG>;

var<private> lane: u32;

fn workgroup_sum4(value: vec4<f32>) -> vec4<f32> {
    workgroupBarrier();
    reduce_scratch[lane] = value;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            reduce_scratch[lane] += reduce_scratch[lane + half];
        }
    }
    workgroupBarrier();
    return reduce_scratch[0];
}

fn workgroup_sum(value: f32) -> f32 {
    return workgroup_sum4(vec4<f32>(value, 0.0, 0.0, 0.0)).x;
}

fn workgroup_max(value: f32) -> f32 {
    workgroupBarrier();
    reduce_scratch[lane].x = value;
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            reduce_scratch[lane].x = max(reduce_scratch[lane].x, reduce_scratch[lane + half].x);
        }
    }
    workgroupBarrier();
    return reduce_scratch[0].x;
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    lane = index;
    run(group, index);
}
