//! Number formats and arithmetic of one lane: f16, bf16, e4m3 and e5m2, rounding modes, bit tricks.
//!
//! Branch-free where kernels use it most, so that 32 lanes of it vectorise. Subnormals are kept unless an
//! instruction says `.ftz`; a NaN that an operation makes is NVIDIA's canonical one.

/// The NaN that `f32` arithmetic gives.
const NAN: u32 = 0x7fff_ffff;
/// The same for f16 and bf16.
const NAN_HALF: u16 = 0x7fff;

/// Exact value of an f16.
#[inline(always)]
pub fn from_half(half: u16) -> f32 {
    let magnitude = u32::from(half & 0x7fff) << 13;
    // The exponents' biases differ by 112; the product also makes subnormals right.
    let value = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7c00 << 13 { 255 << 23 } else { 0 };
    f32::from_bits(value.to_bits() | special | u32::from(half & 0x8000) << 16)
}

/// The nearest f16, ties to even.
#[inline(always)]
pub fn to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let odd = magnitude >> 13 & 1;
    let normal = magnitude.wrapping_add(0xc800_0fff).wrapping_add(odd) >> 13;
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(126 << 23);
    let finite = if magnitude < 113 << 23 { subnormal } else { normal };
    let special = if magnitude > 255 << 23 { u32::from(NAN_HALF) } else { 0x7c00 };
    let half = if magnitude >= 143 << 23 { special } else { finite };
    let sign = if magnitude > 255 << 23 { 0 } else { bits >> 16 & 0x8000 };
    (half | sign) as u16
}

/// Exact value of a bf16.
#[inline(always)]
pub fn from_brain(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// The nearest bf16, ties to even.
#[inline(always)]
pub fn to_brain(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff).wrapping_add(bits >> 16 & 1) >> 16;
    if bits & 0x7fff_ffff > 255 << 23 { NAN_HALF } else { rounded as u16 }
}

/// A 16-bit float format.
pub trait Narrow {
    fn wide(half: u16) -> f32;
    fn round(value: f32) -> u16;
}

/// IEEE's binary16.
pub struct Half;
/// bfloat16.
pub struct Brain;

impl Narrow for Half {
    #[inline(always)]
    fn wide(half: u16) -> f32 {
        from_half(half)
    }
    #[inline(always)]
    fn round(value: f32) -> u16 {
        to_half(value)
    }
}

impl Narrow for Brain {
    #[inline(always)]
    fn wide(half: u16) -> f32 {
        from_brain(half)
    }
    #[inline(always)]
    fn round(value: f32) -> u16 {
        to_brain(value)
    }
}

/// `x + y` rounded to odd: rounding that to fewer bits rounds the exact sum once.
#[inline(always)]
fn add_to_odd(x: f32, y: f32) -> f32 {
    let sum = x + y;
    let rounded = sum - x;
    let error = (x - (sum - rounded)) + (y - rounded);
    let bits = sum.to_bits();
    let inexact = error != 0.0 && sum.is_finite() && error.is_finite() && bits & 1 == 0;
    let away = (error > 0.0) == (sum > 0.0);
    let step = if away { 1 } else { u32::MAX };
    f32::from_bits(bits.wrapping_add(if inexact { step } else { 0 }))
}

/// `x * y + z` in a narrow format, rounded once. The product of two narrow numbers is exact in `f32`.
#[inline(always)]
pub fn fma_narrow<N: Narrow>(x: u16, y: u16, z: u16) -> u16 {
    N::round(add_to_odd(N::wide(x) * N::wide(y), N::wide(z)))
}

/// `x + y` in a narrow format.
#[inline(always)]
pub fn add_narrow<N: Narrow>(x: u16, y: u16) -> u16 {
    N::round(add_to_odd(N::wide(x), N::wide(y)))
}

/// `x - y` in a narrow format.
#[inline(always)]
pub fn sub_narrow<N: Narrow>(x: u16, y: u16) -> u16 {
    N::round(add_to_odd(N::wide(x), -N::wide(y)))
}

/// `x * y` in a narrow format.
#[inline(always)]
pub fn mul_narrow<N: Narrow>(x: u16, y: u16) -> u16 {
    N::round(N::wide(x) * N::wide(y))
}

/// The larger; a number beats a NaN.
#[inline(always)]
pub fn max_narrow<N: Narrow>(x: u16, y: u16) -> u16 {
    N::round(max(N::wide(x), N::wide(y)))
}

/// The smaller; a number beats a NaN.
#[inline(always)]
pub fn min_narrow<N: Narrow>(x: u16, y: u16) -> u16 {
    N::round(min(N::wide(x), N::wide(y)))
}

/// Applies `f` to both halves of packed pairs.
#[inline(always)]
pub fn pairs2(x: u32, y: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(x as u16, y as u16)) | u32::from(f((x >> 16) as u16, (y >> 16) as u16)) << 16
}

/// Applies `f` to both halves of packed pairs.
#[inline(always)]
pub fn pairs3(x: u32, y: u32, z: u32, f: impl Fn(u16, u16, u16) -> u16) -> u32 {
    u32::from(f(x as u16, y as u16, z as u16))
        | u32::from(f((x >> 16) as u16, (y >> 16) as u16, (z >> 16) as u16)) << 16
}

/// `max.f32`: a number beats a NaN, +0 beats −0.
#[inline(always)]
pub fn max(x: f32, y: f32) -> f32 {
    if x.is_nan() {
        return quiet(y);
    }
    let equal = x == y && x.is_sign_negative();
    if x < y || equal { y } else { x }
}

/// `min.f32`: a number beats a NaN, −0 beats +0.
#[inline(always)]
pub fn min(x: f32, y: f32) -> f32 {
    if x.is_nan() {
        return quiet(y);
    }
    let equal = x == y && y.is_sign_negative();
    if y < x || equal { y } else { x }
}

/// The canonical NaN for any NaN.
#[inline(always)]
pub fn quiet(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(NAN) } else { x }
}

/// Subnormals to zero of the same sign.
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// `.sat`: into 0 to 1, NaN to 0.
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// A direction of rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

/// The value nearest to `value + error` in the direction, where `value` is its nearest `f32`.
fn directed(value: f32, error: f64, rounding: Rounding) -> f32 {
    if !value.is_finite() || error == 0.0 {
        return value;
    }
    let down = match rounding {
        Rounding::Nearest => return value,
        Rounding::Zero => value > 0.0,
        Rounding::Down => true,
        Rounding::Up => false,
    };
    match (down, error > 0.0) {
        (true, false) => value.next_down(),
        (false, true) => value.next_up(),
        _ => value,
    }
}

/// `x + y` in a direction.
pub fn add_directed(x: f32, y: f32, rounding: Rounding) -> f32 {
    let sum = x + y;
    let rounded = sum - x;
    directed(sum, f64::from((x - (sum - rounded)) + (y - rounded)), rounding)
}

/// `x * y` in a direction.
pub fn mul_directed(x: f32, y: f32, rounding: Rounding) -> f32 {
    let product = x * y;
    directed(product, f64::from(x) * f64::from(y) - f64::from(product), rounding)
}

/// `x * y + z` in a direction.
pub fn fma_directed(x: f32, y: f32, z: f32, rounding: Rounding) -> f32 {
    let value = x.mul_add(y, z);
    // The product is exact in f64; what its sum with z loses is kept apart.
    let (product, z) = (f64::from(x) * f64::from(y), f64::from(z));
    let sum = product + z;
    let rounded = sum - product;
    let lost = (product - (sum - rounded)) + (z - rounded);
    let error = sum - f64::from(value);
    directed(value, if error == 0.0 { lost } else { error }, rounding)
}

/// An `f32` or `f64` rounded to an integer in a direction, still as a float.
#[inline(always)]
pub fn integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    }
}

/// An `f64` to `f32` in a direction.
pub fn narrow(value: f64, rounding: Rounding) -> f32 {
    let nearest = value as f32;
    directed(nearest, value - f64::from(nearest), rounding)
}

/// A format of 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eight {
    E4m3,
    E5m2,
}

/// Exact value of an 8-bit float.
pub fn from_eight(byte: u8, format: Eight) -> f32 {
    if format == Eight::E5m2 {
        return from_half(u16::from(byte) << 8);
    }
    let sign = if byte & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    if byte & 0x7f == 0x7f {
        return f32::from_bits(NAN);
    }
    let magnitude =
        if exponent == 0 { fraction / 512.0 } else { (8.0 + fraction) * 2f32.powi(exponent - 10) };
    sign * magnitude
}

/// The nearest 8-bit float, ties to even; what is too large becomes the largest (`.satfinite`).
pub fn to_eight(value: f32, format: Eight) -> u8 {
    let (digits, least, largest, nan) = match format {
        Eight::E4m3 => (3, -6, 448.0, 0x7f),
        Eight::E5m2 => (2, -14, 57_344.0, 0x7f),
    };
    if value.is_nan() {
        return nan;
    }
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = value.abs();
    let exponent =
        if magnitude < f32::MIN_POSITIVE { least } else { (magnitude.to_bits() >> 23) as i32 - 127 };
    let exponent = exponent.max(least);
    let units = (f64::from(magnitude) * 2f64.powi(digits - exponent)).round_ties_even();
    let rounded = (units * 2f64.powi(exponent - digits)).min(largest);
    // Units count on through the binades: one more than the last of a binade is the first of the next.
    let exponent = exponent_of(rounded).max(least);
    let units = (rounded * 2f64.powi(digits - exponent)) as u32;
    let code = if units < 1 << digits {
        units
    } else {
        (((exponent - least + 1) as u32) << digits) + units - (1 << digits)
    };
    sign | code as u8
}

fn exponent_of(value: f64) -> i32 {
    if value == 0.0 { i32::MIN } else { (value.to_bits() >> 52) as i32 - 1023 }
}

/// `prmt.b32` in its default mode.
#[inline(always)]
pub fn permute(low: u32, high: u32, selector: u32) -> u32 {
    let both = u64::from(high) << 32 | u64::from(low);
    let mut result = 0;
    for place in 0..4 {
        let nibble = selector >> (4 * place);
        let byte = (both >> (8 * (nibble & 7))) as u32 & 255;
        let sign = (byte >> 7) * 255;
        result |= (if nibble & 8 == 0 { byte } else { sign }) << (8 * place);
    }
    result
}

/// `lop3.b32`: bit `4x + 2y + z` of the table for each place.
#[inline(always)]
pub fn logic(x: u32, y: u32, z: u32, table: u32) -> u32 {
    let mut result = 0;
    for row in 0..8u32 {
        let pick = |value: u32, bit: u32| if row & bit == 0 { !value } else { value };
        let keep = (table >> row & 1).wrapping_neg();
        result |= keep & pick(x, 4) & pick(y, 2) & pick(z, 1);
    }
    result
}

/// `bfe.u64` and `bfe.s64`, of which those of 32 bits are the same with another width.
#[inline(always)]
pub fn extract(value: u64, from: u32, count: u32, bits: u32, signed: bool) -> u64 {
    let (from, count) = (from & 255, count & 255);
    if count == 0 {
        return 0;
    }
    let sign_at = (from + count - 1).min(bits - 1);
    let sign = signed && value >> sign_at & 1 == 1;
    let field = if from >= bits { 0 } else { value >> from };
    let reach = count.min(bits.saturating_sub(from));
    let mask = if reach >= 64 { u64::MAX } else { (1 << reach) - 1 };
    (field & mask) | if sign { !mask } else { 0 }
}

/// `bfi.b64`, of which `bfi.b32` is the same with another width.
#[inline(always)]
pub fn insert(field: u64, into: u64, from: u32, count: u32, bits: u32) -> u64 {
    let (from, count) = (from & 255, count & 255);
    if count == 0 || from >= bits {
        return into;
    }
    let reach = count.min(bits - from);
    let mask = if reach >= 64 { u64::MAX } else { (1 << reach) - 1 } << from;
    (into & !mask) | (field << from & mask)
}

/// `dp4a` with each operand's bytes signed or not.
#[inline(always)]
pub fn dot4(x: u32, y: u32, sum: u32, signed: (bool, bool)) -> u32 {
    let byte = |value: u32, at: u32, signed: bool| {
        let byte = (value >> (8 * at)) as u8;
        if signed { i32::from(byte as i8) } else { i32::from(byte) }
    };
    let mut total = sum as i32;
    for at in 0..4 {
        total = total.wrapping_add(byte(x, at, signed.0) * byte(y, at, signed.1));
    }
    total as u32
}
