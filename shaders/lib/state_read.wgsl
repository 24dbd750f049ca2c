// The state, read-only: loads from it are uniform and may bound loops with barriers. Twin: state_write.wgsl.
@group(0) @binding(0) var<storage, read> state: State;
