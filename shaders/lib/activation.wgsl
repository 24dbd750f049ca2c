// Activations by number, mostly a constant: 0 none (a plain product, as a gate), 1 SiLU, 2 GELU in its tanh form,
// 3 sigmoid, 4 clamped SwiGLU (gpt-oss), 5 ReLU, 6 tanh, 7 squared ReLU.
fn activate(x: f32, act: u32) -> f32 {
    if (act == 1u) {
        return x / (1.0 + exp(-x));
    }
    if (act == 2u) {
        // tanh overflows to NaN for large arguments on some drivers, hence the clamp; it is exactly 1 there.
        let inner = clamp(0.7978845608 * (x + 0.044715 * x * x * x), -10.0, 10.0);
        return 0.5 * x * (1.0 + tanh(inner));
    }
    if (act == 3u) {
        return 1.0 / (1.0 + exp(-x));
    }
    if (act == 4u) {
        let clamped = min(x, 7.0);
        return clamped / (1.0 + exp(-1.702 * clamped));
    }
    if (act == 5u) {
        return max(x, 0.0);
    }
    if (act == 6u) {
        return tanh(clamp(x, -10.0, 10.0));
    }
    if (act == 7u) {
        return max(x, 0.0) * max(x, 0.0);
    }
    return x;
}

fn gated(gate: f32, up: f32, act: u32) -> f32 {
    if (act == 4u) {
        return activate(gate, act) * (clamp(up, -7.0, 7.0) + 1.0);
    }
    return activate(gate, act) * up;
}
