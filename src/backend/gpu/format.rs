//! Formats in which weights lie on the GPU, and the way there from GGUF blocks.
//!
//! Every quantized type is brought to its integer form first (`quant::affine`), so all types work at once: integers
//! of 4, 6 or 8 bits in one plane, scales (and minima) in another. A unit is 16 weights of a row; planes are indexed by
//! `row * units_per_row + unit`. The WGSL twins are `shaders/quant/*.wgsl`.

use half::f16;

use crate::quant::{DType, E2M1, IQ4, affine, dequantize};
use crate::{Error, Result};

/// How the integers or floats are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Plane {
    /// Nibbles: 8 bytes a unit.
    Q4,
    /// Nibbles that are codes into the table of IQ4_NL: 8 bytes a unit.
    Iq4,
    /// Nibbles that are 4-bit floats: 8 bytes a unit.
    E2m1,
    /// Nibbles and two upper bits each: 12 bytes a unit.
    Q6,
    /// Signed bytes: 16 bytes a unit.
    Q8,
    /// 64 bytes a unit.
    F32,
    /// 32 bytes a unit.
    F16,
    /// 32 bytes a unit.
    Bf16,
}

/// How the scale of a sub-block is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scale {
    /// Floats have none.
    None,
    /// f16.
    Half,
    /// f16 scale and f16 minimum.
    HalfMin,
    /// f32, for types whose scales do not fit f16.
    Single,
}

/// Storage of a weight matrix on the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format {
    /// Plane of integers or floats.
    pub plane: Plane,
    /// Plane of scales.
    pub scale: Scale,
    /// Weights that share a scale: 16 or 32 (16 for floats, where it means nothing).
    pub sub: usize,
    /// Whether rows of floats end within a unit; the rest of it is zero.
    pub ragged: bool,
}

/// Weights in a unit.
pub const UNIT: usize = 16;

/// Scales are stored times this: GPUs may flush subnormal f16 to zero, and scales of real models are that small.
const SCALE_FACTOR: f32 = 256.0;

impl Format {
    /// The format for rows of `cols` weights of a GGUF type.
    pub fn of(dtype: DType, cols: usize) -> Self {
        let float = |plane| Self {
            plane,
            scale: Scale::None,
            sub: UNIT,
            ragged: !cols.is_multiple_of(UNIT),
        };
        let plane = match dtype {
            DType::F32 => return float(Plane::F32),
            DType::F16 => return float(Plane::F16),
            DType::BF16 => return float(Plane::Bf16),
            DType::Q1_0
            | DType::Q2_0
            | DType::Q4_0
            | DType::Q4_1
            | DType::Q4_K
            | DType::Q2_K
            | DType::Q3_K
            | DType::TQ1_0
            | DType::TQ2_0 => Plane::Q4,
            DType::Q5_0 | DType::Q5_1 | DType::Q5_K | DType::Q6_K => Plane::Q6,
            DType::IQ4_NL | DType::IQ4_XS => Plane::Iq4,
            DType::MXFP4 | DType::NVFP4 => Plane::E2m1,
            _ => Plane::Q8,
        };
        let scale = match dtype {
            DType::MXFP4 => Scale::Single,
            _ if dtype.has_min() => Scale::HalfMin,
            _ => Scale::Half,
        };
        Self {
            plane,
            scale,
            sub: dtype.sub_block(),
            ragged: false,
        }
    }

    /// Every format that some type has.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        let formats = DType::ALL
            .iter()
            .flat_map(|dtype| [UNIT, UNIT + 4].map(|cols| Self::of(*dtype, cols)));
        for format in formats {
            if !all.contains(&format) {
                all.push(format);
            }
        }
        all
    }

    /// Whether weights are integers with factors.
    pub fn is_integer(self) -> bool {
        self.scale != Scale::None
    }

    /// What is subtracted from the integers of 4 or 6 bits.
    pub fn zero(self) -> i32 {
        match self.plane {
            _ if self.scale == Scale::HalfMin => 0,
            Plane::Q4 => 8,
            Plane::Q6 => 32,
            _ => 0,
        }
    }

    /// About the middle of integers that are never negative. Taken from them, sums in f16 stay small.
    pub fn center(self) -> i32 {
        match (self.scale, self.plane, self.sub) {
            (Scale::HalfMin, Plane::Q4, 32) => 8,
            (Scale::HalfMin, Plane::Q6, 32) => 16,
            _ => 0,
        }
    }

    /// What the codes of the first plane stand for, where they are no integers themselves.
    pub fn table(self) -> Option<&'static [i8; 16]> {
        match self.plane {
            Plane::Iq4 => Some(&IQ4),
            Plane::E2m1 => Some(&E2M1),
            _ => None,
        }
    }

    /// Bytes of the first plane for `units` units.
    pub fn quant_bytes(self, units: usize) -> usize {
        units
            * match self.plane {
                Plane::Q4 | Plane::Iq4 | Plane::E2m1 => 8,
                Plane::Q6 => 12,
                Plane::Q8 => 16,
                Plane::F16 | Plane::Bf16 => 32,
                Plane::F32 => 64,
            }
    }

    /// Bytes of the second plane for `units` units, whole words.
    pub fn scale_bytes(self, units: usize) -> usize {
        let subs = units.div_ceil(self.sub / UNIT);
        match self.scale {
            Scale::None => 0,
            Scale::Half => (subs * 2).next_multiple_of(4),
            Scale::HalfMin | Scale::Single => subs * 4,
        }
    }
}

/// The planes of some rows, ready to be written to buffers. Reused from chunk to chunk.
#[derive(Default)]
pub struct Planes {
    /// First plane.
    pub quants: Vec<u8>,
    /// Second plane.
    pub scales: Vec<u8>,
    q: Vec<i8>,
    s: Vec<f32>,
    m: Vec<f32>,
}

impl Planes {
    /// Packs whole rows of `cols` elements of the tensor `name`. The scales end on a whole word.
    ///
    /// # Errors
    /// [`Error::BadTensor`] for scales beyond the range of f16, [`Error::Internal`] for misshapen input.
    pub fn pack(&mut self, name: &str, dtype: DType, bytes: &[u8], cols: usize) -> Result<()> {
        self.quants.clear();
        self.scales.clear();
        let format = Format::of(dtype, cols);
        let row_bytes = format.quant_bytes(cols.div_ceil(UNIT));
        for row in bytes.chunks_exact(dtype.row_bytes(cols)?) {
            match format.plane {
                Plane::F32 | Plane::F16 | Plane::Bf16 => {
                    let end = self.quants.len() + row_bytes;
                    self.quants.extend_from_slice(row);
                    self.quants.resize(end, 0);
                }
                Plane::Q4 | Plane::Iq4 | Plane::E2m1 | Plane::Q6 | Plane::Q8 => {
                    if !self.pack_row(dtype, format, row, cols)? {
                        return Err(beyond_f16(name));
                    }
                }
            }
        }
        self.scales.resize(self.scales.len().next_multiple_of(4), 0);
        Ok(())
    }

    /// Packs a row; false when a scale is beyond f16.
    fn pack_row(&mut self, dtype: DType, format: Format, row: &[u8], cols: usize) -> Result<bool> {
        self.q.resize(cols, 0);
        self.s.resize(cols / format.sub, 0.0);
        self.m.resize(cols / format.sub, 0.0);
        affine(dtype, row, &mut self.q, &mut self.s, &mut self.m)?;
        if format.plane == Plane::Q8 {
            self.quants.extend(self.q.iter().map(|q| *q as u8));
        } else {
            let zero = format.zero();
            let code = |q: i8| match format.table() {
                // Every value is in the table that it comes from.
                Some(table) => table.iter().position(|entry| *entry == q).unwrap_or(0) as u8,
                None => (i32::from(q) + zero) as u8,
            };
            for unit in self.q.chunks_exact(UNIT) {
                let low = |i: usize| code(unit[i]) & 15;
                let bytes = [0, 1, 2, 3, 8, 9, 10, 11].map(|i| low(i) | (low(i + 4) << 4));
                self.quants.extend(bytes);
                if format.plane == Plane::Q6 {
                    let upper = |i: usize, g: usize| (code(unit[4 * g + i]) >> 4) << (2 * g);
                    let bytes = [0, 1, 2, 3].map(|i| (0..4).map(|g| upper(i, g)).sum::<u8>());
                    self.quants.extend(bytes);
                }
            }
        }
        let mut fits = true;
        let mut halves = |scales: &mut Vec<u8>, values: &[f32]| {
            for value in values {
                let half = f16::from_f32(value * SCALE_FACTOR);
                fits &= half.is_finite();
                // Zero has no sign, as on the GPU.
                let bits = if half == f16::ZERO { f16::ZERO } else { half };
                scales.extend(bits.to_le_bytes());
            }
        };
        for (scale, min) in self.s.iter().zip(&self.m) {
            match format.scale {
                Scale::None => {}
                // GPUs may flush subnormal numbers to zero: so they are zero everywhere.
                Scale::Single if scale.is_subnormal() => self.scales.extend([0; 4]),
                Scale::Single => self.scales.extend(scale.to_le_bytes()),
                Scale::Half => halves(&mut self.scales, &[*scale]),
                Scale::HalfMin => halves(&mut self.scales, &[*scale, *min]),
            }
        }
        Ok(fits)
    }
}

/// The error for a scale that no plane holds.
pub fn beyond_f16(name: &str) -> Error {
    Error::BadTensor {
        name: name.to_owned(),
        reason: "a scale is beyond what the GPU format holds".into(),
    }
}

/// Values of a vector of any float type.
///
/// # Errors
/// [`Error::Internal`] for misshapen input.
pub fn floats(dtype: DType, bytes: &[u8], len: usize) -> Result<Vec<f32>> {
    let mut values = vec![0.0; len];
    dequantize(dtype, bytes, &mut values)?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::quantize;

    /// Reads the planes back as the shaders do.
    fn unpack(format: Format, planes: &Planes, n: usize) -> Vec<f32> {
        let half = |at: usize| {
            f16::from_le_bytes([planes.scales[at], planes.scales[at + 1]]).to_f32() / SCALE_FACTOR
        };
        (0..n)
            .map(|i| {
                let sub = i / format.sub;
                let q = match format.plane {
                    Plane::Q8 => f32::from(planes.quants[i] as i8),
                    plane => {
                        let unit = &planes.quants[i / UNIT * format.quant_bytes(1)..];
                        let (word, at, g) = (i % UNIT / 8, i % 8, i % UNIT / 4);
                        let mut code = (unit[word * 4 + at % 4] >> (at / 4 * 4)) & 15;
                        if plane == Plane::Q6 {
                            code |= ((unit[8 + i % 4] >> (2 * g)) & 3) << 4;
                        }
                        match format.table() {
                            Some(table) => f32::from(table[usize::from(code)]),
                            None => f32::from(code) - format.zero() as f32,
                        }
                    }
                };
                match format.scale {
                    Scale::Half => half(sub * 2) * q,
                    Scale::HalfMin => half(sub * 4) * q - half(sub * 4 + 2),
                    Scale::Single => {
                        let bytes = planes.scales[sub * 4..sub * 4 + 4].try_into().unwrap();
                        f32::from_le_bytes(bytes) * q
                    }
                    Scale::None => unreachable!(),
                }
            })
            .collect()
    }

    #[test]
    fn every_quantized_type_survives_packing() {
        let values: Vec<f32> = (0..1536)
            .map(|i| ((i * 7919) % 2003) as f32 / 9e4 - 0.011)
            .collect();
        for dtype in DType::ALL
            .iter()
            .copied()
            .filter(|dtype| dtype.is_quantized())
        {
            let mut bytes = Vec::new();
            quantize(dtype, &values, &mut bytes).unwrap();
            let mut want = vec![0.0; values.len()];
            dequantize(dtype, &bytes, &mut want).unwrap();
            let mut planes = Planes::default();
            planes.pack("w", dtype, &bytes, 256).unwrap();
            let format = Format::of(dtype, 256);
            let units = values.len() / UNIT;
            assert_eq!(planes.quants.len(), format.quant_bytes(units), "{dtype}");
            assert_eq!(planes.scales.len(), format.scale_bytes(units), "{dtype}");
            let got = unpack(format, &planes, values.len());
            let norm = want.iter().fold(0.0f32, |max, w| max.max(w.abs()));
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (got - want).abs() < 2e-3 * norm,
                    "{dtype}: {got} for {want}"
                );
            }
        }
    }
}
