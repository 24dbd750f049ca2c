use super::*;

/// Deterministic values in -1..1 (xorshift).
fn noise(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..len).map(|_| next() as f32).collect()
}

/// Largest error of a round trip, relative to the largest value, that plain rounding may make.
fn round_trip_limit(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => 0.0,
        DType::F16 => 5e-4,
        DType::BF16 | DType::Q8_0 => 5e-3,
        DType::Q6_K => 0.05,
        DType::Q5_0 | DType::Q5_1 | DType::Q5_K => 0.08,
        DType::Q4_0 | DType::Q4_1 | DType::Q4_K | DType::IQ4_NL | DType::IQ4_XS => 0.15,
        DType::Q3_K | DType::MXFP4 | DType::NVFP4 | DType::IQ3_S => 0.35,
        DType::Q2_K => 0.45,
        DType::Q2_0
        | DType::TQ1_0
        | DType::TQ2_0
        | DType::IQ3_XXS
        | DType::IQ2_XS
        | DType::IQ2_S => 0.51,
        DType::IQ2_XXS => 0.65,
        DType::Q1_0 | DType::IQ1_S | DType::IQ1_M => 0.8,
    }
}

#[test]
fn quantize_then_dequantize_comes_close() {
    for &dtype in DType::ALL {
        let values = noise(1024, dtype.ggml_id() + 1);
        let mut bytes = Vec::new();
        quantize(dtype, &values, &mut bytes).unwrap();
        assert_eq!(bytes.len(), dtype.row_bytes(1024).unwrap(), "{dtype}");
        let mut back = vec![0.0; 1024];
        dequantize(dtype, &bytes, &mut back).unwrap();
        let worst = values
            .iter()
            .zip(&back)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst <= round_trip_limit(dtype), "{dtype}: {worst}");
    }
}

#[test]
fn zeros_stay_zeros() {
    for &dtype in DType::ALL {
        let mut bytes = Vec::new();
        quantize(dtype, &[0.0; 256], &mut bytes).unwrap();
        let mut back = vec![1.0; 256];
        dequantize(dtype, &bytes, &mut back).unwrap();
        assert!(back.iter().all(|w| *w == 0.0), "{dtype}");
    }
}

#[test]
fn affine_is_what_dequantize_evaluates() {
    for &dtype in DType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
        let bytes: Vec<u8> = noise(2 * dtype.block_bytes(), 7)
            .iter()
            .map(|v| (v * 127.0) as i8 as u8)
            .collect();
        let len = 2 * dtype.block_len();
        let sub = dtype.sub_block();
        let (mut q, mut scales, mut mins) =
            (vec![0; len], vec![0.0; len / sub], vec![1.0; len / sub]);
        affine(dtype, &bytes, &mut q, &mut scales, &mut mins).unwrap();
        let mut out = vec![0.0; len];
        dequantize(dtype, &bytes, &mut out).unwrap();
        for (i, w) in out.iter().enumerate() {
            let expected: f32 = scales[i / sub] * f32::from(q[i]) - mins[i / sub];
            assert_eq!(w.to_bits(), expected.to_bits(), "{dtype} element {i}");
        }
        assert!(
            dtype.has_min() || mins.iter().all(|min| *min == 0.0),
            "{dtype}"
        );
    }
}

#[test]
fn every_number_maps_back() {
    for &dtype in DType::ALL {
        assert_eq!(DType::from_ggml(dtype.ggml_id()), Ok(dtype));
    }
}

#[test]
fn unread_types_are_named() {
    let error = DType::from_ggml(15).unwrap_err();
    assert_eq!(error.code(), "unsupported_type");
    assert!(
        error.to_string().contains("Q8_K") && error.to_string().contains("Q4_K"),
        "{error}"
    );
    assert!(
        DType::from_ggml(4711)
            .unwrap_err()
            .to_string()
            .contains("4711")
    );
    // Whatever GGML has ever given a number is read or named.
    for id in 0..=42 {
        if let Err(error) = DType::from_ggml(id) {
            assert!(!error.to_string().contains("number"), "{error}");
        }
    }
}

#[test]
fn wrong_lengths_are_errors() {
    assert!(dequantize(DType::Q8_0, &[0; 33], &mut [0.0; 32]).is_err());
    assert!(dequantize(DType::Q8_0, &[0; 34], &mut [0.0; 31]).is_err());
    assert!(
        affine(
            DType::Q8_0,
            &[0; 34],
            &mut [0; 32],
            &mut [0.0; 2],
            &mut [0.0; 1]
        )
        .is_err()
    );
    assert!(affine(DType::F32, &[0; 4], &mut [0; 1], &mut [], &mut []).is_err());
    assert!(DType::Q4_K.row_bytes(128).is_err());
    assert!(quantize(DType::Q4_K, &[0.0; 128], &mut Vec::new()).is_err());
}
