"""Writes the codebooks of the IQ types, *.bin in this directory, from gguf-py, GGML's own Python package.

    pip install gguf && python make_tables.py

An entry of a codebook is 8 elements of 2 bits (4 of 3 bits in IQ3), the first element lowest: a number. The entries of
all codebooks ascend, so a file holds the steps from entry to entry, a byte each; byte 255 means that the step goes on.
"""

from math import ceil, log2
from pathlib import Path

import numpy as np
from gguf import quants

for name in ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]:
    quant = getattr(quants, name)
    quant.init_grid()
    levels = list(quant.grid_map)
    codes = np.vectorize(levels.index)(quant.grid.reshape(quant.grid_shape))
    bits = ceil(log2(len(levels)))
    entries = (codes << (bits * np.arange(codes.shape[1]))).sum(axis=1)
    steps = np.diff(entries, prepend=0)
    assert (steps[1:] > 0).all()
    packed = b"".join(b"\xff" * (step // 255) + bytes([step % 255]) for step in steps.tolist())
    Path(__file__).with_name(f"{name.lower()}.bin").write_bytes(packed)
    print(name, f"{len(entries)} entries of {codes.shape[1]} elements from {levels}: {len(packed)} bytes")
