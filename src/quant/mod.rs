//! Block formats of quantized weights. Knows nothing of tensors.
