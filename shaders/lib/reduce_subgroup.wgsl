// Reductions over a workgroup with subgroup operations. Twin: reduce_workgroup.wgsl, which needs no feature.
// Every invocation calls them in uniform control flow and every one gets the result.
// Subgroups are told apart by who is elected to write, so no assumption is made on how invocations are numbered.
var<workgroup> reduce_scratch: array<vec4<f32>, WG>;

var<private> lane: u32;
var<private> subgroup_lane: u32;
var<private> subgroup_lanes: u32;

fn workgroup_sum4(value: vec4<f32>) -> vec4<f32> {
    let mine = subgroupAdd(value);
    workgroupBarrier();
    // All lanes but the first of a subgroup add nothing.
    reduce_scratch[lane] = select(vec4<f32>(0.0), mine, subgroup_lane == 0u);
    workgroupBarrier();
    var total = vec4<f32>(0.0);
    for (var i = subgroup_lane; i < WG; i += subgroup_lanes) {
        total += reduce_scratch[i];
    }
    return subgroupAdd(total);
}

fn workgroup_sum(value: f32) -> f32 {
    return workgroup_sum4(vec4<f32>(value, 0.0, 0.0, 0.0)).x;
}

fn workgroup_max(value: f32) -> f32 {
    let mine = subgroupMax(value);
    workgroupBarrier();
    reduce_scratch[lane].x = mine;
    workgroupBarrier();
    var largest = mine;
    for (var i = subgroup_lane; i < WG; i += subgroup_lanes) {
        largest = max(largest, reduce_scratch[i].x);
    }
    return subgroupMax(largest);
}

@compute @workgroup_size(WG)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(subgroup_invocation_id) sub_lane: u32,
) {
    lane = index;
    subgroup_lane = sub_lane;
    // Counted: some drivers tell the largest size that there is, whatever a pipeline has.
    subgroup_lanes = subgroupAdd(1u);
    run(group, index);
}
