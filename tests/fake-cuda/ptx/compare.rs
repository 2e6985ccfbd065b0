//! Comparisons of `setp`: each lane's answer becomes a bit of a predicate.

use super::machine::lanes::Rows;
use super::number::{from_brain, from_half};
use super::op::Op;

/// A comparison: how, and of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    pub how: How,
    pub what: What,
}

/// How two values are compared. Those with `u` are true of a NaN too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    Nan,
}

/// Type of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F16,
    Bf16,
    F32,
    F64,
}

impl Test {
    /// `setp.ltu.f32` is `ltu` of `f32`.
    pub fn named(how: &str, what: &str) -> Option<Self> {
        let what = match what {
            "u16" | "b16" => What::U16,
            "s16" => What::S16,
            "u32" | "b32" => What::U32,
            "s32" => What::S32,
            "u64" | "b64" => What::U64,
            "s64" => What::S64,
            "f16" => What::F16,
            "bf16" => What::Bf16,
            "f32" => What::F32,
            "f64" => What::F64,
            _ => return None,
        };
        let how = match how {
            "eq" => How::Eq,
            "ne" => How::Ne,
            "lt" | "lo" => How::Lt,
            "le" | "ls" => How::Le,
            "gt" | "hi" => How::Gt,
            "ge" | "hs" => How::Ge,
            "equ" => How::Equ,
            "neu" => How::Neu,
            "ltu" => How::Ltu,
            "leu" => How::Leu,
            "gtu" => How::Gtu,
            "geu" => How::Geu,
            "num" => How::Num,
            "nan" => How::Nan,
            _ => return None,
        };
        Some(Self { how, what })
    }
}

/// The lanes, of all 32, for which it is true.
///
/// # Safety
/// The rows that `op` names are rows of `rows`, pairs where the type has 64 bits.
#[inline(always)]
pub unsafe fn run(test: Test, rows: &Rows, op: &Op) -> u32 {
    // SAFETY: as promised by the caller.
    unsafe {
        match (test.what, test.how) {
            (What::S32, How::Lt) => rows.test(
                op,
                #[inline(always)]
                |x: i32, y: i32| x < y,
            ),
            (What::S32, How::Ge) => rows.test(
                op,
                #[inline(always)]
                |x: i32, y: i32| x >= y,
            ),
            (What::S32 | What::U32, How::Eq) => rows.test(
                op,
                #[inline(always)]
                |x: u32, y: u32| x == y,
            ),
            (What::S32 | What::U32, How::Ne) => rows.test(
                op,
                #[inline(always)]
                |x: u32, y: u32| x != y,
            ),
            (What::U32, How::Lt) => rows.test(
                op,
                #[inline(always)]
                |x: u32, y: u32| x < y,
            ),
            _ => run_any(test, rows, op),
        }
    }
}

/// The rest, compiled once.
///
/// # Safety
/// As [`run`].
#[inline(never)]
unsafe fn run_any(test: Test, rows: &Rows, op: &Op) -> u32 {
    macro_rules! integers {
        ($t:ty) => {
            // SAFETY: as promised by the caller.
            unsafe {
                match test.how {
                    How::Eq | How::Equ => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| x == y,
                    ),
                    How::Ne | How::Neu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| x != y,
                    ),
                    How::Lt | How::Ltu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| x < y,
                    ),
                    How::Le | How::Leu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| x <= y,
                    ),
                    How::Gt | How::Gtu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| x > y,
                    ),
                    How::Ge | How::Geu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| x >= y,
                    ),
                    How::Num | How::Nan => 0,
                }
            }
        };
    }
    macro_rules! floats {
        ($t:ty, $value:expr) => {
            // SAFETY: as promised by the caller.
            unsafe {
                let ordered = match test.how {
                    How::Eq | How::Equ => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| $value(x) == $value(y),
                    ),
                    How::Ne | How::Neu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| $value(x) < $value(y) || $value(x) > $value(y),
                    ),
                    How::Lt | How::Ltu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| $value(x) < $value(y),
                    ),
                    How::Le | How::Leu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| $value(x) <= $value(y),
                    ),
                    How::Gt | How::Gtu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| $value(x) > $value(y),
                    ),
                    How::Ge | How::Geu => rows.test(
                        op,
                        #[inline(always)]
                        |x: $t, y: $t| $value(x) >= $value(y),
                    ),
                    How::Num | How::Nan => 0,
                };
                match test.how {
                    How::Eq | How::Ne | How::Lt | How::Le | How::Gt | How::Ge => ordered,
                    _ => {
                        let nan = rows.test(
                            op,
                            #[inline(always)]
                            |x: $t, y: $t| $value(x).is_nan() || $value(y).is_nan(),
                        );
                        if test.how == How::Num { !nan } else { ordered | nan }
                    }
                }
            }
        };
    }
    match test.what {
        What::U16 => integers!(u16),
        What::S16 => integers!(i16),
        What::U32 => integers!(u32),
        What::S32 => integers!(i32),
        What::U64 => integers!(u64),
        What::S64 => integers!(i64),
        What::F16 => floats!(u16, from_half),
        What::Bf16 => floats!(u16, from_brain),
        What::F32 => floats!(f32, std::convert::identity),
        What::F64 => floats!(f64, std::convert::identity),
    }
}
