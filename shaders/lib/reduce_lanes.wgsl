// Reductions over a workgroup that is one subgroup: no shared memory and no barrier. The host takes it where WG is the
// size of every subgroup. Twins: reduce_subgroup.wgsl, reduce_workgroup.wgsl.
fn workgroup_sum4(value: vec4<f32>) -> vec4<f32> {
    return subgroupAdd(value);
}

fn workgroup_sum(value: f32) -> f32 {
    return subgroupAdd(value);
}

fn workgroup_max(value: f32) -> f32 {
    return subgroupMax(value);
}

@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    run(group, index);
}
