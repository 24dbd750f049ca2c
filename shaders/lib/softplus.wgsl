// ln(1 + exp(x)), exact where exp would overflow and where 1 + exp(x) would round to 1.
fn softplus(x: f32) -> f32 {
    if (x > 20.0) {
        return x;
    }
    let e = exp(x);
    // The series of ln(1 + e), where the sum would lose the digits of e.
    return select(log(1.0 + e), e - 0.5 * e * e, e < 1e-3);
}
