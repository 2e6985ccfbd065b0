//! Blocks of random weights, any byte range of a tensor on demand.
//!
//! A counter-based generator: the bits of a block are a hash of (key, block number), so ranges can be made
//! in any order, by any number of threads, and agree. The hash is the finalizer of `SplitMix64` (Steele, Lea
//! and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): two multiplications for
//! eight bytes, and randomness good enough for weights that mean nothing.
//!
//! Values are uniform, of mean zero over each tensor and of the standard deviation asked for, so that
//! activations stay finite through any number of layers. Scales differ from block to block, and minima
//! differ from scales, so that a kernel that takes its neighbour's is caught.
#![allow(clippy::cast_possible_truncation, reason = "random words are cut down to the bits needed")]

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::{IQ4, pack_scales};
use crate::TensorType;

/// Elements made at once of a type without blocks.
const RUN: usize = 64;
/// Bytes of the largest unit: a run of `F32`.
const LARGEST_UNIT: usize = 4 * RUN;
/// Different scales in a tensor: a power of two.
const SCALES: usize = 16;

/// Mean and standard deviation of weights. Quantized weights have mean zero whatever is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distribution {
    /// Mean.
    pub mean: f32,
    /// Standard deviation.
    pub deviation: f32,
}

/// Whether [`Weights`] can be made of this type.
pub fn can_make(dtype: TensorType) -> bool {
    rms_of_unit_scale(dtype).is_some()
}

/// The weights of one tensor: a rule from which any of its bytes follow.
#[derive(Debug, Clone)]
pub struct Weights {
    dtype: TensorType,
    key: u64,
    distribution: Distribution,
    /// Block scales as the file has them, of `MXFP4` in the lower byte; a block picks one.
    scales: [u16; SCALES],
    /// For formats with a minimum: the one that centres a block of the scale at the same place.
    minima: [u16; SCALES],
}

impl Weights {
    /// The tensor that `key` stands for, or `None` for a type that cannot be made.
    pub fn new(dtype: TensorType, distribution: Distribution, key: u64) -> Option<Self> {
        let unit = distribution.deviation / rms_of_unit_scale(dtype)?;
        let spread: [f32; SCALES] = std::array::from_fn(|i| 0.75 + 0.5 * (i as f32 + 0.5) / SCALES as f32);
        let rms = (spread.iter().map(|factor| factor * factor).sum::<f32>() / SCALES as f32).sqrt();
        if dtype == TensorType::MXFP4 {
            let scales = powers_of_two(unit);
            return Some(Self { dtype, key, distribution, scales, minima: [0; SCALES] });
        }
        let scales = spread.map(|factor| f16::from_f32(unit * factor / rms));
        let centre = match dtype {
            TensorType::Q4_1 => -7.5,
            TensorType::Q5_1 => -15.5,
            // K-quants subtract their minimum.
            TensorType::Q4_K => 7.5,
            TensorType::Q5_K => 15.5,
            TensorType::Q2_K => 1.5,
            _ => 0.0,
        };
        let minima = scales.map(|scale| f16::from_f32(scale.to_f32() * centre).to_bits());
        Some(Self { dtype, key, distribution, scales: scales.map(f16::to_bits), minima })
    }

    /// Fills `out` with the tensor's bytes from byte `start` on. The tensor has no end of its own.
    pub fn fill(&self, start: u64, out: &mut [u8]) {
        let unit_bytes = self.unit_bytes();
        let mut number = start / unit_bytes as u64;
        // The remainder is below a unit's bytes.
        let skip = usize::try_from(start % unit_bytes as u64).unwrap_or(0);
        let mut rest = out;
        if skip > 0 {
            let taken = rest.len().min(unit_bytes - skip);
            let (part, after) = rest.split_at_mut(taken);
            self.part_of_unit(number, skip, part);
            number += 1;
            rest = after;
        }
        let mut units = rest.chunks_exact_mut(unit_bytes);
        for unit in &mut units {
            self.unit(number, unit);
            number += 1;
        }
        let tail = units.into_remainder();
        if !tail.is_empty() {
            self.part_of_unit(number, 0, tail);
        }
    }

    /// Bytes that are made together: a block, or a run of numbers.
    fn unit_bytes(&self) -> usize {
        match self.dtype {
            TensorType::F32 => 4 * RUN,
            TensorType::F16 | TensorType::BF16 => 2 * RUN,
            // At most 210.
            _ => usize::try_from(self.dtype.block_bytes()).unwrap_or(LARGEST_UNIT),
        }
    }

    fn part_of_unit(&self, number: u64, skip: usize, part: &mut [u8]) {
        let mut whole = [0; LARGEST_UNIT];
        let whole = &mut whole[..self.unit_bytes()];
        self.unit(number, whole);
        part.copy_from_slice(&whole[skip..skip + part.len()]);
    }

    /// Makes unit `number`, exactly [`Self::unit_bytes`] long.
    fn unit(&self, number: u64, out: &mut [u8]) {
        let mut words = Words::new(self.key, number);
        let choice = words.next();
        // The lower bits choose a scale, the top bit its sign where a format's real scales have both.
        let pick = (choice & (SCALES as u64 - 1)) as usize;
        let scale = self.scales[pick];
        let signed = scale | ((choice >> 63) as u16) << 15;
        match self.dtype {
            TensorType::F32 => {
                self.floats(&mut words, |run| put(out, run.iter().map(|value| value.to_le_bytes())));
            }
            TensorType::F16 => self.floats(&mut words, |run| {
                let mut halves = [f16::ZERO; RUN];
                halves.convert_from_f32_slice(run);
                put(out, halves.iter().map(|half| half.to_le_bytes()));
            }),
            TensorType::BF16 => self.floats(&mut words, |run| {
                put(out, run.iter().map(|value| upper_half(*value).to_le_bytes()));
            }),
            TensorType::Q8_0 => {
                out[..2].copy_from_slice(&scale.to_le_bytes());
                words.fill(&mut out[2..]);
                // Quantizers write -127 to 127.
                for byte in &mut out[2..] {
                    *byte = byte.cast_signed().max(-127).cast_unsigned();
                }
            }
            TensorType::Q4_0 | TensorType::Q5_0 | TensorType::IQ4_NL => {
                out[..2].copy_from_slice(&signed.to_le_bytes());
                words.fill(&mut out[2..]);
            }
            TensorType::Q4_1 | TensorType::Q5_1 => {
                out[..2].copy_from_slice(&scale.to_le_bytes());
                out[2..4].copy_from_slice(&self.minima[pick].to_le_bytes());
                words.fill(&mut out[4..]);
            }
            TensorType::Q4_K | TensorType::Q5_K => {
                out[..2].copy_from_slice(&scale.to_le_bytes());
                out[2..4].copy_from_slice(&self.minima[pick].to_le_bytes());
                out[4..16].copy_from_slice(&sub_scales(choice, words.next()));
                words.fill(&mut out[16..]);
            }
            TensorType::Q6_K => {
                words.fill(&mut out[..208]);
                for byte in &mut out[192..208] {
                    // Six random bits and a sign: ±64 to ±127.
                    let magnitude = (64 | *byte & 63).cast_signed();
                    *byte = if *byte & 128 == 0 { magnitude } else { -magnitude }.cast_unsigned();
                }
                out[208..].copy_from_slice(&scale.to_le_bytes());
            }
            TensorType::Q2_K => {
                words.fill(&mut out[..80]);
                for byte in &mut out[..16] {
                    // A scale of 5 to 12 and its minimum, 2 to 15.
                    let scale = 5 + (*byte & 7);
                    *byte = scale | (scale + (*byte >> 3 & 3) - (*byte >> 5 & 3)) << 4;
                }
                out[80..82].copy_from_slice(&scale.to_le_bytes());
                out[82..].copy_from_slice(&self.minima[pick].to_le_bytes());
            }
            TensorType::Q3_K => {
                words.fill(&mut out[..108]);
                far_from_the_middle(&mut out[104..108]);
                out[108..].copy_from_slice(&scale.to_le_bytes());
            }
            TensorType::IQ4_XS => {
                out[..2].copy_from_slice(&scale.to_le_bytes());
                words.fill(&mut out[2..]);
                far_from_the_middle(&mut out[2..4]);
            }
            TensorType::MXFP4 => {
                out[0] = scale as u8;
                words.fill(&mut out[1..]);
            }
            // `new` has refused them.
            TensorType::Q8_1 | TensorType::Q8_K => out.fill(0),
        }
    }

    /// Hands a run of uniform numbers to `store`.
    fn floats(&self, words: &mut Words, store: impl FnOnce(&[f32; RUN])) {
        let Distribution { mean, deviation } = self.distribution;
        // A uniform distribution of half-width a has the deviation a/√3; 24 bits fill a single's fraction.
        let step = deviation * 3_f32.sqrt() / (1 << 23) as f32;
        let mut run = [0.0; RUN];
        for pair in run.as_chunks_mut::<2>().0 {
            let word = words.next();
            pair[0] = mean + ((word >> 8) as u32).cast_signed().wrapping_shr(8) as f32 * step;
            pair[1] = mean + ((word >> 32) as u32).cast_signed().wrapping_shr(8) as f32 * step;
        }
        store(&run);
    }
}

/// Root mean square of the weights of a block whose scale is 1: from the ranges of its integers, each uniform.
fn rms_of_unit_scale(dtype: TensorType) -> Option<f32> {
    // Variance of n equally likely consecutive integers.
    let spread = |n: f32| (n * n - 1.0) / 12.0;
    let mean_square = match dtype {
        TensorType::F32 | TensorType::F16 | TensorType::BF16 => 1.0,
        TensorType::Q8_0 => spread(255.0),
        // Centred at -1/2.
        TensorType::Q4_0 => spread(16.0) + 0.25,
        TensorType::Q5_0 => spread(32.0) + 0.25,
        TensorType::Q4_1 => spread(16.0),
        TensorType::Q5_1 => spread(32.0),
        // Sub-scales are 24 to 55; a minimum differs from its sub-scale by a difference of two octal digits.
        TensorType::Q4_K => (spread(32.0) + 39.5 * 39.5) * spread(16.0) + 7.5 * 7.5 * 2.0 * spread(8.0),
        TensorType::Q5_K => (spread(32.0) + 39.5 * 39.5) * spread(32.0) + 15.5 * 15.5 * 2.0 * spread(8.0),
        // Mean of the squares of 0, ½, 1, 1½, 2, 3, 4 and 6.
        TensorType::MXFP4 => 68.5 / 8.0,
        // Scales are 64 to 127.
        TensorType::Q6_K => (spread(64.0) + 0.25) * (spread(64.0) + 95.5 * 95.5),
        // Scales are 5 to 12; a minimum differs from its scale by a difference of two digits of base four.
        TensorType::Q2_K => (spread(8.0) + 8.5 * 8.5) * spread(4.0) + 1.5 * 1.5 * 2.0 * spread(4.0),
        TensorType::Q3_K => (spread(8.0) + 0.25) * FAR_SQUARE,
        TensorType::IQ4_NL => iq4_square(),
        TensorType::IQ4_XS => iq4_square() * FAR_SQUARE,
        TensorType::Q8_1 | TensorType::Q8_K => return None,
    };
    Some(mean_square.sqrt())
}

/// Mean of the squares of the numbers of `IQ4_NL`.
fn iq4_square() -> f32 {
    IQ4.iter().map(|number| f32::from(*number) * f32::from(*number)).sum::<f32>() / 16.0
}

/// Mean of the squares of 6-bit scales that [`far_from_the_middle`] has moved, −32 to −17 and 16 to 31: sixteen numbers'
/// variance of 21.25, and half of the squares of the means −24.5 and 23.5 each.
const FAR_SQUARE: f32 = 21.25 + 576.25;

/// Makes the two upper bits of 6-bit scales with offset 32 the same, four scales a byte: a real scale is rarely small.
fn far_from_the_middle(uppers: &mut [u8]) {
    for byte in uppers {
        let one = *byte & 0x55;
        *byte = one | one << 1;
    }
}

/// Scale bytes of `MXFP4` whose powers of two have the root mean square `unit`, to about a fiftieth.
fn powers_of_two(unit: f32) -> [u16; SCALES] {
    // A normal number's exponent is that of the power of two below it.
    let below = unit.to_bits() >> 23;
    let ratio = unit / f32::from_bits(below << 23);
    let total = SCALES as f32 * ratio * ratio;
    // Some are doubled, which adds 3 to the squares; what that is too much is taken off by halving others.
    let doubled = ((total - SCALES as f32) / 3.0).ceil();
    let halved = ((SCALES as f32 + 3.0 * doubled - total) / 0.75).round();
    std::array::from_fn(|index| {
        let (exponent, index) = (below as u16, index as f32);
        if index < doubled {
            exponent + 1
        } else if index < doubled + halved {
            exponent - 1
        } else {
            exponent
        }
    })
}

/// Eight scales of 24 to 55 and their minima, packed; `choice` and `word` are random.
fn sub_scales(choice: u64, word: u64) -> [u8; 12] {
    // Five bits of `choice` above those used for the super-scale, six of `word`, for each sub-block.
    let scales = std::array::from_fn(|i| 24 + (choice >> (8 + 5 * i) & 31) as u8);
    let minima =
        std::array::from_fn(|i| scales[i] + (word >> (6 * i) & 7) as u8 - (word >> (6 * i + 3) & 7) as u8);
    pack_scales(scales, minima)
}

fn put<const N: usize>(out: &mut [u8], values: impl Iterator<Item = [u8; N]>) {
    for (place, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *place = value;
    }
}

/// A finite number rounded to its upper 16 bits, ties to even: `BF16`.
fn upper_half(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The random words of one unit: hashes of a counter and the key.
struct Words {
    key: u64,
    counter: u64,
}

impl Words {
    /// 2^64 over the golden ratio, odd: the step of `SplitMix64`.
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    /// More words than any unit takes: a run of `F32` takes 33.
    const IN_UNIT: u64 = 64;

    fn new(key: u64, unit: u64) -> Self {
        Self { key, counter: unit.wrapping_mul(Self::IN_UNIT).wrapping_mul(Self::STEP) }
    }

    fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(Self::STEP);
        mix(self.counter ^ self.key)
    }

    fn fill(&mut self, out: &mut [u8]) {
        let (whole, rest) = out.as_chunks_mut::<8>();
        for chunk in whole {
            *chunk = self.next().to_le_bytes();
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&self.next().to_le_bytes()[..rest.len()]);
        }
    }
}

/// The finalizer of `SplitMix64`.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
