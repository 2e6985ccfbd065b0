//! Operations that each lane does alone: their list, and their dispatch over a warp.
//!
//! One line an operation. `#[inline(always)]` all the way lets each become a vector loop for the instruction
//! set of the caller.

use super::machine::lanes::Rows;
use super::number::{
    Brain, Eight, Half, Narrow, Rounding, add_directed, add_narrow, dot4, extract, flush, fma_directed,
    fma_narrow, from_brain, from_eight, from_half, insert, integral, max, max_narrow, min, min_narrow,
    mul_directed, mul_narrow, narrow, pairs2, pairs3, permute, quiet, saturate, sub_narrow, to_brain,
    to_eight, to_half,
};
use super::op::Op;

macro_rules! operations {
    (hot { $($hot:ident($($hx:ident: $ht:ty),+) -> $hr:ty = $hbody:expr;)* }
     cold { $($cold:ident($($cx:ident: $ct:ty),+) -> $cr:ty = $cbody:expr;)* }) => {
        /// An operation of one lane.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Alu { $($hot,)* $($cold,)* }

        /// Runs it on the lanes of `exec`. What kernels do most is compiled into the caller, for its instruction set.
        ///
        /// # Safety
        /// The rows that `op` names are rows of `rows`, pairs where the operation takes 64 bits.
        #[inline(always)]
        pub unsafe fn run(alu: Alu, rows: &mut Rows, op: &Op, exec: u32) {
            match alu {
                // SAFETY: as promised by the caller.
                $(Alu::$hot => unsafe { rows.map(op, exec, #[inline(always)] |($($hx,)+): ($($ht,)+)| -> $hr { $hbody }) },)*
                // SAFETY: as promised by the caller.
                _ => unsafe { run_seldom(alu, rows, op, exec) },
            }
        }

        /// The rest, compiled once.
        ///
        /// # Safety
        /// As [`run`].
        #[inline(never)]
        unsafe fn run_seldom(alu: Alu, rows: &mut Rows, op: &Op, exec: u32) {
            match alu {
                // SAFETY: as promised by the caller.
                $(Alu::$cold => unsafe { rows.map(op, exec, #[inline(always)] |($($cx,)+): ($($ct,)+)| -> $cr { $cbody }) },)*
                _ => {}
            }
        }
    };
}

operations! {
    hot {
        Move32(x: u32) -> u32 = x;
        Move16(x: u16) -> u16 = x;
        Move64(x: u64) -> u64 = x;
        Add32(x: u32, y: u32) -> u32 = x.wrapping_add(y);
        Sub32(x: u32, y: u32) -> u32 = x.wrapping_sub(y);
        Mul32(x: u32, y: u32) -> u32 = x.wrapping_mul(y);
        Mad32(x: u32, y: u32, z: u32) -> u32 = x.wrapping_mul(y).wrapping_add(z);
        MinU32(x: u32, y: u32) -> u32 = x.min(y);
        MinS32(x: i32, y: i32) -> i32 = x.min(y);
        MaxU32(x: u32, y: u32) -> u32 = x.max(y);
        MaxS32(x: i32, y: i32) -> i32 = x.max(y);
        And32(x: u32, y: u32) -> u32 = x & y;
        Or32(x: u32, y: u32) -> u32 = x | y;
        Xor32(x: u32, y: u32) -> u32 = x ^ y;
        Not32(x: u32) -> u32 = !x;
        Neg32(x: u32) -> u32 = x.wrapping_neg();
        Shl32(x: u32, y: u32) -> u32 = if y > 31 { 0 } else { x << (y & 31) };
        ShrU32(x: u32, y: u32) -> u32 = if y > 31 { 0 } else { x >> (y & 31) };
        ShrS32(x: i32, y: u32) -> i32 = x >> y.min(31);
        BfeU32(x: u32, y: u32, z: u32) -> u32 = extract(u64::from(x), y, z, 32, false) as u32;
        Permute(x: u32, y: u32, z: u32) -> u32 = permute(x, y, z);
        FunnelLeftWrap(x: u32, y: u32, z: u32) -> u32 = ((u64::from(y) << 32 | u64::from(x)) << (z & 31) >> 32) as u32;
        FunnelRightWrap(x: u32, y: u32, z: u32) -> u32 = ((u64::from(y) << 32 | u64::from(x)) >> (z & 31)) as u32;
        Dot4UU(x: u32, y: u32, z: u32) -> u32 = dot4(x, y, z, (false, false));
        Dot4US(x: u32, y: u32, z: u32) -> u32 = dot4(x, y, z, (false, true));
        Dot4SS(x: u32, y: u32, z: u32) -> u32 = dot4(x, y, z, (true, true));
        And16(x: u16, y: u16) -> u16 = x & y;
        Shl16(x: u16, y: u32) -> u16 = if y > 15 { 0 } else { x << (y & 15) };
        ShrU16(x: u16, y: u32) -> u16 = if y > 15 { 0 } else { x >> (y & 15) };
        Add64(x: u64, y: u64) -> u64 = x.wrapping_add(y);
        Sub64(x: u64, y: u64) -> u64 = x.wrapping_sub(y);
        Mul64(x: u64, y: u64) -> u64 = x.wrapping_mul(y);
        Mad64(x: u64, y: u64, z: u64) -> u64 = x.wrapping_mul(y).wrapping_add(z);
        And64(x: u64, y: u64) -> u64 = x & y;
        Shl64(x: u64, y: u32) -> u64 = if y > 63 { 0 } else { x << (y & 63) };
        MulWideU32(x: u32, y: u32) -> u64 = u64::from(x) * u64::from(y);
        MulWideS32(x: i32, y: i32) -> i64 = i64::from(x) * i64::from(y);
        MadWideU32(x: u32, y: u32, z: u64) -> u64 = (u64::from(x) * u64::from(y)).wrapping_add(z);
        MadWideS32(x: i32, y: i32, z: i64) -> i64 = (i64::from(x) * i64::from(y)).wrapping_add(z);
        AddF32(x: f32, y: f32) -> f32 = x + y;
        SubF32(x: f32, y: f32) -> f32 = x - y;
        MulF32(x: f32, y: f32) -> f32 = x * y;
        FmaF32(x: f32, y: f32, z: f32) -> f32 = x.mul_add(y, z);
        FmaF32x2(x: u64, y: u64, z: u64) -> u64 = twice(x, y, z, |x, y, z| x.mul_add(y, z));
        AddF32x2(x: u64, y: u64) -> u64 = twice(x, y, 0, |x, y, _| x + y);
        MulF32x2(x: u64, y: u64) -> u64 = twice(x, y, 0, |x, y, _| x * y);
        DivF32(x: f32, y: f32) -> f32 = x / y;
        MinF32(x: f32, y: f32) -> f32 = min(x, y);
        MaxF32(x: f32, y: f32) -> f32 = max(x, y);
        NegF32(x: u32) -> u32 = x ^ 0x8000_0000;
        AbsF32(x: u32) -> u32 = x & 0x7fff_ffff;
        SqrtF32(x: f32) -> f32 = quiet(x.sqrt());
        RcpF32(x: f32) -> f32 = 1.0 / x;
        Ex2F32(x: f32) -> f32 = f64::from(x).exp2() as f32;
        Flush(x: f32) -> f32 = flush(x);
        AddHalf2(x: u32, y: u32) -> u32 = pairs2(x, y, add_narrow::<Half>);
        SubHalf2(x: u32, y: u32) -> u32 = pairs2(x, y, sub_narrow::<Half>);
        MulHalf2(x: u32, y: u32) -> u32 = pairs2(x, y, mul_narrow::<Half>);
        FmaHalf2(x: u32, y: u32, z: u32) -> u32 = pairs3(x, y, z, fma_narrow::<Half>);
        MaxHalf2(x: u32, y: u32) -> u32 = pairs2(x, y, max_narrow::<Half>);
        AddBrain2(x: u32, y: u32) -> u32 = pairs2(x, y, add_narrow::<Brain>);
        MulBrain2(x: u32, y: u32) -> u32 = pairs2(x, y, mul_narrow::<Brain>);
        FmaBrain2(x: u32, y: u32, z: u32) -> u32 = pairs3(x, y, z, fma_narrow::<Brain>);
        Zext8To32(x: u32) -> u32 = x & 255;
        Sext8To32(x: u32) -> i32 = i32::from(x as u8 as i8);
        Zext16To32(x: u16) -> u32 = u32::from(x);
        Sext16To32(x: i16) -> i32 = i32::from(x);
        Zext32To64(x: u32) -> u64 = u64::from(x);
        Sext32To64(x: i32) -> i64 = i64::from(x);
        Trunc32To16(x: u32) -> u16 = x as u16;
        Trunc64To32(x: u64) -> u32 = x as u32;
        U32ToF32(x: u32) -> f32 = x as f32;
        S32ToF32(x: i32) -> f32 = x as f32;
        RoundF32(x: f32) -> f32 = x.round_ties_even();
        F32ToS32(x: f32) -> i32 = x as i32;
        HalfToF32(x: u16) -> f32 = from_half(x);
        BrainToF32(x: u16) -> f32 = from_brain(x);
        F32ToHalf(x: f32) -> u16 = to_half(x);
        F32ToBrain(x: f32) -> u16 = to_brain(x);
        F32ToHalf2(x: f32, y: f32) -> u32 = u32::from(to_half(y)) | u32::from(to_half(x)) << 16;
        F32ToBrain2(x: f32, y: f32) -> u32 = u32::from(to_brain(y)) | u32::from(to_brain(x)) << 16;
    }
    cold {
        // Integers of 32 bits.
        MulHighU32(x: u32, y: u32) -> u32 = ((u64::from(x) * u64::from(y)) >> 32) as u32;
        MulHighS32(x: i32, y: i32) -> i32 = ((i64::from(x) * i64::from(y)) >> 32) as i32;
        MadHighU32(x: u32, y: u32, z: u32) -> u32 = (((u64::from(x) * u64::from(y)) >> 32) as u32).wrapping_add(z);
        MadHighS32(x: i32, y: i32, z: i32) -> i32 = (((i64::from(x) * i64::from(y)) >> 32) as i32).wrapping_add(z);
        Mul24U32(x: u32, y: u32) -> u32 = (x & 0xff_ffff).wrapping_mul(y & 0xff_ffff);
        Mul24S32(x: i32, y: i32) -> i32 = (x << 8 >> 8).wrapping_mul(y << 8 >> 8);
        DivU32(x: u32, y: u32) -> u32 = x.checked_div(y).unwrap_or(u32::MAX);
        DivS32(x: i32, y: i32) -> i32 = if y == 0 { -1 } else { x.wrapping_div(y) };
        RemU32(x: u32, y: u32) -> u32 = x.checked_rem(y).unwrap_or(x);
        RemS32(x: i32, y: i32) -> i32 = if y == 0 { x } else { x.wrapping_rem(y) };
        Abs32(x: i32) -> i32 = x.wrapping_abs();
        Sad32(x: i32, y: i32, z: u32) -> u32 = z.wrapping_add(x.abs_diff(y));
        SadU32(x: u32, y: u32, z: u32) -> u32 = z.wrapping_add(x.abs_diff(y));
        Popc32(x: u32) -> u32 = x.count_ones();
        Clz32(x: u32) -> u32 = x.leading_zeros();
        Brev32(x: u32) -> u32 = x.reverse_bits();
        BfindU32(x: u32) -> u32 = 31u32.wrapping_sub(x.leading_zeros());
        BfindS32(x: i32) -> u32 = 31u32.wrapping_sub((if x < 0 { !x } else { x }).leading_zeros());
        BfindShiftU32(x: u32) -> u32 = if x == 0 { u32::MAX } else { x.leading_zeros() };
        BfeS32(x: u32, y: u32, z: u32) -> u32 = extract(u64::from(x), y, z, 32, true) as u32;
        FunnelLeftClamp(x: u32, y: u32, z: u32) -> u32 = ((u64::from(y) << 32 | u64::from(x)) << z.min(32) >> 32) as u32;
        FunnelRightClamp(x: u32, y: u32, z: u32) -> u32 = ((u64::from(y) << 32 | u64::from(x)) >> z.min(32)) as u32;
        Dot4SU(x: u32, y: u32, z: u32) -> u32 = dot4(x, y, z, (true, false));
        // Integers of 16 bits.
        Add16(x: u16, y: u16) -> u16 = x.wrapping_add(y);
        Sub16(x: u16, y: u16) -> u16 = x.wrapping_sub(y);
        Mul16(x: u16, y: u16) -> u16 = x.wrapping_mul(y);
        MulHighU16(x: u16, y: u16) -> u16 = ((u32::from(x) * u32::from(y)) >> 16) as u16;
        MulHighS16(x: i16, y: i16) -> i16 = ((i32::from(x) * i32::from(y)) >> 16) as i16;
        Mad16(x: u16, y: u16, z: u16) -> u16 = x.wrapping_mul(y).wrapping_add(z);
        DivU16(x: u16, y: u16) -> u16 = x.checked_div(y).unwrap_or(u16::MAX);
        DivS16(x: i16, y: i16) -> i16 = if y == 0 { -1 } else { x.wrapping_div(y) };
        RemU16(x: u16, y: u16) -> u16 = x.checked_rem(y).unwrap_or(x);
        RemS16(x: i16, y: i16) -> i16 = if y == 0 { x } else { x.wrapping_rem(y) };
        MinU16(x: u16, y: u16) -> u16 = x.min(y);
        MinS16(x: i16, y: i16) -> i16 = x.min(y);
        MaxU16(x: u16, y: u16) -> u16 = x.max(y);
        MaxS16(x: i16, y: i16) -> i16 = x.max(y);
        Not16(x: u16) -> u16 = !x;
        Neg16(x: u16) -> u16 = x.wrapping_neg();
        Abs16(x: i16) -> i16 = x.wrapping_abs();
        Or16(x: u16, y: u16) -> u16 = x | y;
        Xor16(x: u16, y: u16) -> u16 = x ^ y;
        ShrS16(x: i16, y: u32) -> i16 = x >> y.min(15);
        MulWideU16(x: u16, y: u16) -> u32 = u32::from(x) * u32::from(y);
        MulWideS16(x: i16, y: i16) -> i32 = i32::from(x) * i32::from(y);
        MadWideU16(x: u16, y: u16, z: u32) -> u32 = (u32::from(x) * u32::from(y)).wrapping_add(z);
        MadWideS16(x: i16, y: i16, z: i32) -> i32 = (i32::from(x) * i32::from(y)).wrapping_add(z);
        // Integers of 64 bits.
        MulHighU64(x: u64, y: u64) -> u64 = ((u128::from(x) * u128::from(y)) >> 64) as u64;
        MulHighS64(x: i64, y: i64) -> i64 = ((i128::from(x) * i128::from(y)) >> 64) as i64;
        DivU64(x: u64, y: u64) -> u64 = x.checked_div(y).unwrap_or(u64::MAX);
        DivS64(x: i64, y: i64) -> i64 = if y == 0 { -1 } else { x.wrapping_div(y) };
        RemU64(x: u64, y: u64) -> u64 = x.checked_rem(y).unwrap_or(x);
        RemS64(x: i64, y: i64) -> i64 = if y == 0 { x } else { x.wrapping_rem(y) };
        MinU64(x: u64, y: u64) -> u64 = x.min(y);
        MinS64(x: i64, y: i64) -> i64 = x.min(y);
        MaxU64(x: u64, y: u64) -> u64 = x.max(y);
        MaxS64(x: i64, y: i64) -> i64 = x.max(y);
        Or64(x: u64, y: u64) -> u64 = x | y;
        Xor64(x: u64, y: u64) -> u64 = x ^ y;
        Not64(x: u64) -> u64 = !x;
        Neg64(x: u64) -> u64 = x.wrapping_neg();
        Abs64(x: i64) -> i64 = x.wrapping_abs();
        ShrU64(x: u64, y: u32) -> u64 = if y > 63 { 0 } else { x >> (y & 63) };
        ShrS64(x: i64, y: u32) -> i64 = x >> y.min(63);
        Popc64(x: u64) -> u32 = x.count_ones();
        Clz64(x: u64) -> u32 = x.leading_zeros();
        Brev64(x: u64) -> u64 = x.reverse_bits();
        BfeU64(x: u64, y: u32, z: u32) -> u64 = extract(x, y, z, 64, false);
        BfeS64(x: u64, y: u32, z: u32) -> u64 = extract(x, y, z, 64, true);
        // Floats of 32 bits.
        AddF32Zero(x: f32, y: f32) -> f32 = add_directed(x, y, Rounding::Zero);
        AddF32Down(x: f32, y: f32) -> f32 = add_directed(x, y, Rounding::Down);
        AddF32Up(x: f32, y: f32) -> f32 = add_directed(x, y, Rounding::Up);
        SubF32Zero(x: f32, y: f32) -> f32 = add_directed(x, -y, Rounding::Zero);
        SubF32Down(x: f32, y: f32) -> f32 = add_directed(x, -y, Rounding::Down);
        SubF32Up(x: f32, y: f32) -> f32 = add_directed(x, -y, Rounding::Up);
        MulF32Zero(x: f32, y: f32) -> f32 = mul_directed(x, y, Rounding::Zero);
        MulF32Down(x: f32, y: f32) -> f32 = mul_directed(x, y, Rounding::Down);
        MulF32Up(x: f32, y: f32) -> f32 = mul_directed(x, y, Rounding::Up);
        FmaF32Zero(x: f32, y: f32, z: f32) -> f32 = fma_directed(x, y, z, Rounding::Zero);
        FmaF32Down(x: f32, y: f32, z: f32) -> f32 = fma_directed(x, y, z, Rounding::Down);
        FmaF32Up(x: f32, y: f32, z: f32) -> f32 = fma_directed(x, y, z, Rounding::Up);
        MinNanF32(x: f32, y: f32) -> f32 = if x.is_nan() || y.is_nan() { quiet(f32::NAN) } else { min(x, y) };
        MaxNanF32(x: f32, y: f32) -> f32 = if x.is_nan() || y.is_nan() { quiet(f32::NAN) } else { max(x, y) };
        CopysignF32(x: u32, y: u32) -> u32 = x & 0x8000_0000 | y & 0x7fff_ffff;
        RsqrtF32(x: f32) -> f32 = quiet((1.0 / f64::from(x).sqrt()) as f32);
        Lg2F32(x: f32) -> f32 = quiet(f64::from(x).log2() as f32);
        SinF32(x: f32) -> f32 = quiet(f64::from(x).sin() as f32);
        CosF32(x: f32) -> f32 = quiet(f64::from(x).cos() as f32);
        TanhF32(x: f32) -> f32 = f64::from(x).tanh() as f32;
        Saturate(x: f32) -> f32 = saturate(x);
        SaturateF64(x: f64) -> f64 = if x > 0.0 { x.min(1.0) } else { 0.0 };
        Relu(x: f32) -> f32 = max(x, 0.0);
        // Floats of 64 bits.
        AddF64(x: f64, y: f64) -> f64 = x + y;
        SubF64(x: f64, y: f64) -> f64 = x - y;
        MulF64(x: f64, y: f64) -> f64 = x * y;
        DivF64(x: f64, y: f64) -> f64 = x / y;
        FmaF64(x: f64, y: f64, z: f64) -> f64 = x.mul_add(y, z);
        MinF64(x: f64, y: f64) -> f64 = x.min(y);
        MaxF64(x: f64, y: f64) -> f64 = x.max(y);
        NegF64(x: u64) -> u64 = x ^ 1 << 63;
        AbsF64(x: u64) -> u64 = x & !(1 << 63);
        CopysignF64(x: u64, y: u64) -> u64 = x & 1 << 63 | y & !(1 << 63);
        SqrtF64(x: f64) -> f64 = x.sqrt();
        RcpF64(x: f64) -> f64 = 1.0 / x;
        // f16 and bf16, alone and in pairs.
        AddHalf(x: u16, y: u16) -> u16 = add_narrow::<Half>(x, y);
        SubHalf(x: u16, y: u16) -> u16 = sub_narrow::<Half>(x, y);
        MulHalf(x: u16, y: u16) -> u16 = mul_narrow::<Half>(x, y);
        FmaHalf(x: u16, y: u16, z: u16) -> u16 = fma_narrow::<Half>(x, y, z);
        MinHalf(x: u16, y: u16) -> u16 = min_narrow::<Half>(x, y);
        MaxHalf(x: u16, y: u16) -> u16 = max_narrow::<Half>(x, y);
        ReluHalf(x: u16) -> u16 = max_narrow::<Half>(x, 0);
        SaturateHalf(x: u16) -> u16 = to_half(saturate(from_half(x)));
        Ex2Half(x: u16) -> u16 = to_half(f64::from(from_half(x)).exp2() as f32);
        TanhHalf(x: u16) -> u16 = to_half(f64::from(from_half(x)).tanh() as f32);
        NegHalf(x: u16) -> u16 = x ^ 0x8000;
        AbsHalf(x: u16) -> u16 = x & 0x7fff;
        MinHalf2(x: u32, y: u32) -> u32 = pairs2(x, y, min_narrow::<Half>);
        ReluHalf2(x: u32) -> u32 = pairs2(x, 0, max_narrow::<Half>);
        SaturateHalf2(x: u32) -> u32 = pairs2(x, 0, |x, _| to_half(saturate(from_half(x))));
        Ex2Half2(x: u32) -> u32 = pairs2(x, 0, |x, _| to_half(f64::from(from_half(x)).exp2() as f32));
        TanhHalf2(x: u32) -> u32 = pairs2(x, 0, |x, _| to_half(f64::from(from_half(x)).tanh() as f32));
        NegHalf2(x: u32) -> u32 = x ^ 0x8000_8000;
        AbsHalf2(x: u32) -> u32 = x & 0x7fff_7fff;
        AddBrain(x: u16, y: u16) -> u16 = add_narrow::<Brain>(x, y);
        SubBrain(x: u16, y: u16) -> u16 = sub_narrow::<Brain>(x, y);
        MulBrain(x: u16, y: u16) -> u16 = mul_narrow::<Brain>(x, y);
        FmaBrain(x: u16, y: u16, z: u16) -> u16 = fma_narrow::<Brain>(x, y, z);
        MinBrain(x: u16, y: u16) -> u16 = min_narrow::<Brain>(x, y);
        MaxBrain(x: u16, y: u16) -> u16 = max_narrow::<Brain>(x, y);
        ReluBrain(x: u16) -> u16 = max_narrow::<Brain>(x, 0);
        SubBrain2(x: u32, y: u32) -> u32 = pairs2(x, y, sub_narrow::<Brain>);
        MinBrain2(x: u32, y: u32) -> u32 = pairs2(x, y, min_narrow::<Brain>);
        MaxBrain2(x: u32, y: u32) -> u32 = pairs2(x, y, max_narrow::<Brain>);
        ReluBrain2(x: u32) -> u32 = pairs2(x, 0, max_narrow::<Brain>);
        // Conversions of integers: to a width, from the low bits with or without their sign.
        Zext8To16(x: u16) -> u16 = x & 255;
        Sext8To16(x: u16) -> i16 = i16::from(x as u8 as i8);
        Zext8To64(x: u32) -> u64 = u64::from(x & 255);
        Sext8To64(x: u32) -> i64 = i64::from(x as u8 as i8);
        Zext16To64(x: u16) -> u64 = u64::from(x);
        Sext16To64(x: i16) -> i64 = i64::from(x);
        Trunc64To16(x: u64) -> u16 = x as u16;
        // Conversions between floats and integers.
        U64ToF32(x: u64) -> f32 = x as f32;
        S64ToF32(x: i64) -> f32 = x as f32;
        U32ToF64(x: u32) -> f64 = f64::from(x);
        S32ToF64(x: i32) -> f64 = f64::from(x);
        U64ToF64(x: u64) -> f64 = x as f64;
        S64ToF64(x: i64) -> f64 = x as f64;
        F32ToF64(x: f32) -> f64 = f64::from(x);
        F64ToF32(x: f64) -> f32 = quiet(x as f32);
        F64ToF32Zero(x: f64) -> f32 = narrow(x, Rounding::Zero);
        F64ToF32Down(x: f64) -> f32 = narrow(x, Rounding::Down);
        F64ToF32Up(x: f64) -> f32 = narrow(x, Rounding::Up);
        TruncF32(x: f32) -> f32 = x.trunc();
        FloorF32(x: f32) -> f32 = x.floor();
        CeilF32(x: f32) -> f32 = x.ceil();
        RoundF64(x: f64) -> f64 = x.round_ties_even();
        TruncF64(x: f64) -> f64 = x.trunc();
        FloorF64(x: f64) -> f64 = x.floor();
        CeilF64(x: f64) -> f64 = x.ceil();
        // To integers: clamped, NaN to zero, which is what Rust's `as` does. The rounding comes before.
        F32ToU32(x: f32) -> u32 = x as u32;
        F32ToU64(x: f32) -> u64 = x as u64;
        F32ToS64(x: f32) -> i64 = x as i64;
        F32ToU16(x: f32) -> u16 = x as u16;
        F32ToS16(x: f32) -> i16 = x as i16;
        F32ToU8(x: f32) -> u16 = u16::from(x as u8);
        F32ToS8(x: f32) -> i16 = i16::from(x as i8);
        F64ToU32(x: f64) -> u32 = integral(x, Rounding::Zero) as u32;
        F64ToS32(x: f64) -> i32 = integral(x, Rounding::Zero) as i32;
        F64ToU64(x: f64) -> u64 = integral(x, Rounding::Zero) as u64;
        F64ToS64(x: f64) -> i64 = integral(x, Rounding::Zero) as i64;
        F32ToHalfZero(x: f32) -> u16 = toward_zero::<Half>(x);
        F32ToBrainZero(x: f32) -> u16 = toward_zero::<Brain>(x);
        // Two to a pair: the first operand becomes the upper half.
        F32ToE4m3x2(x: f32, y: f32) -> u16 = u16::from(to_eight(y, Eight::E4m3)) | u16::from(to_eight(x, Eight::E4m3)) << 8;
        F32ToE5m2x2(x: f32, y: f32) -> u16 = u16::from(to_eight(y, Eight::E5m2)) | u16::from(to_eight(x, Eight::E5m2)) << 8;
        Half2ToE4m3x2(x: u32) -> u16 = half2_to_eight(x, Eight::E4m3);
        Half2ToE5m2x2(x: u32) -> u16 = half2_to_eight(x, Eight::E5m2);
        E4m3x2ToHalf2(x: u16) -> u32 = eight_to_half2(x, Eight::E4m3);
        E5m2x2ToHalf2(x: u16) -> u32 = eight_to_half2(x, Eight::E5m2);
        // `bfi` needs four operands; its field is cut out first, so that three do.
        BfiMask32(x: u32, y: u32) -> u32 = insert(u64::MAX, 0, x, y, 32) as u32;
        BfiMask64(x: u32, y: u32) -> u64 = insert(u64::MAX, 0, x, y, 64);
        Blend32(x: u32, y: u32, z: u32) -> u32 = x & z | y & !z;
        Blend64(x: u64, y: u64, z: u64) -> u64 = x & z | y & !z;
    }
}

#[inline(always)]
fn twice(x: u64, y: u64, z: u64, f: impl Fn(f32, f32, f32) -> f32) -> u64 {
    let part = |value: u64, at: u32| f32::from_bits((value >> at) as u32);
    let both = [0, 32].map(|at| u64::from(f(part(x, at), part(y, at), part(z, at)).to_bits()));
    both[0] | both[1] << 32
}

fn toward_zero<N: Narrow>(value: f32) -> u16 {
    let nearest = N::round(value);
    let back = N::wide(nearest);
    // Magnitudes of floats count up with their bits.
    if back.abs() > value.abs() { nearest - 1 } else { nearest }
}

fn half2_to_eight(pair: u32, format: Eight) -> u16 {
    let one = |half: u32| u16::from(to_eight(from_half(half as u16), format));
    one(pair) | one(pair >> 16) << 8
}

fn eight_to_half2(pair: u16, format: Eight) -> u32 {
    let one = |byte: u16| u32::from(to_half(from_eight(byte as u8, format)));
    one(pair) | one(pair >> 8) << 16
}
