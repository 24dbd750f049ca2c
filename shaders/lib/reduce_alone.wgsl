// Reductions where there is nothing to reduce: each of the CROWD invocations of a workgroup is a group of one, WG = 1, with
// a place of its own in the grid's x. Twins: reduce_workgroup.wgsl, reduce_subgroup.wgsl, reduce_lanes.wgsl.
fn workgroup_sum4(value: vec4<f32>) -> vec4<f32> {
    return value;
}

fn workgroup_sum(value: f32) -> f32 {
    return value;
}

fn workgroup_max(value: f32) -> f32 {
    return value;
}

@compute @workgroup_size(CROWD)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    run(vec3<u32>(group.x * CROWD + index, group.y, group.z), 0u);
}
