// Activations, chosen by the constant ACT: 0 none, 1 SiLU, 2 GELU in its tanh form.
fn activate(x: f32) -> f32 {
    if (ACT == 1u) {
        return x / (1.0 + exp(-x));
    }
    if (ACT == 2u) {
        // tanh overflows to NaN for large arguments on some drivers, hence the clamp; it is exactly 1 there.
        let inner = clamp(0.7978845608 * (x + 0.044715 * x * x * x), -10.0, 10.0);
        return 0.5 * x * (1.0 + tanh(inner));
    }
    return x;
}
