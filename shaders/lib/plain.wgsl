// Entry point of kernels whose invocations do not talk to each other.
@compute @workgroup_size(WG)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    run(group, index);
}
