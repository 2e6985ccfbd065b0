//! `cvt`: between integers, between floats, and across.

use super::super::alu::Alu;
use super::super::parse::{Class, Operand, Refusal};
use super::Decoder;
use super::arithmetic::class_of;

/// Bits of an integer type and whether it is signed.
fn integer(kind: &str) -> Option<(u32, bool)> {
    let bits = kind.get(1..)?.parse().ok()?;
    match (&kind[..1], bits) {
        ("s", 8 | 16 | 32 | 64) => Some((bits, true)),
        ("u" | "b", 8 | 16 | 32 | 64) => Some((bits, false)),
        _ => None,
    }
}

/// The low `bits` of a row of one class, extended into another.
fn extension(bits: u32, signed: bool, from: Class, to: Class) -> Option<Alu> {
    use Alu::*;
    Some(match (bits, to, signed) {
        (8, Class::Half, false) => Zext8To16,
        (8, Class::Half, true) => Sext8To16,
        (8, Class::Word, false) => Zext8To32,
        (8, Class::Word, true) => Sext8To32,
        (8, Class::Long, false) => Zext8To64,
        (8, Class::Long, true) => Sext8To64,
        (16.., Class::Half, _) => match from {
            Class::Long => Trunc64To16,
            Class::Word => Trunc32To16,
            _ => Move16,
        },
        (16, Class::Word, false) => Zext16To32,
        (16, Class::Word, true) => Sext16To32,
        (16, Class::Long, false) => Zext16To64,
        (16, Class::Long, true) => Sext16To64,
        (32.., Class::Word, _) => match from {
            Class::Long => Trunc64To32,
            _ => Move32,
        },
        (32, Class::Long, false) => Zext32To64,
        (32, Class::Long, true) => Sext32To64,
        (64, Class::Long, _) => Move64,
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn convert(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let [.., to, from] = parts else { return self.unknown() };
        let modifiers = &parts[1..parts.len() - 2];
        let known = ["rn", "rz", "rm", "rp", "rni", "rzi", "rmi", "rpi", "ftz", "sat", "satfinite"];
        if modifiers.iter().any(|modifier| !known.contains(modifier)) {
            return self.unknown();
        }
        let rounding = modifiers.iter().find(|modifier| modifier.starts_with('r')).copied().unwrap_or("");
        let (flushed, saturated) = (modifiers.contains(&"ftz"), modifiers.contains(&"sat"));
        match (integer(from), integer(to)) {
            (Some(from), Some(to)) if !saturated => return self.between_integers(from, to, operands),
            (Some(_), Some(_)) => return self.unknown(),
            _ => {}
        }
        if operands.len() == 3 || to.ends_with("x2") || from.ends_with("x2") {
            return self.pairs(to, from, rounding, modifiers, operands);
        }
        let [target, source] = operands else { return self.unknown() };
        let mut row = self.float_source(source, from)?;
        let mut have = *from;
        // Narrow floats go by way of f32, which holds each of them.
        if let Some(widen) = match have {
            "f16" => Some(Alu::HalfToF32),
            "bf16" => Some(Alu::BrainToF32),
            _ => None,
        } {
            row = self.step(widen, row, Class::Word);
            have = "f32";
        }
        if have == "f32" && flushed {
            row = self.step(Alu::Flush, row, Class::Word);
        }
        if let Some(alu) = match (have, rounding) {
            ("f32", "rni") => Some(Alu::RoundF32),
            ("f32", "rzi") => Some(Alu::TruncF32),
            ("f32", "rmi") => Some(Alu::FloorF32),
            ("f32", "rpi") => Some(Alu::CeilF32),
            ("f64", "rni") => Some(Alu::RoundF64),
            ("f64", "rzi") => Some(Alu::TruncF64),
            ("f64", "rmi") => Some(Alu::FloorF64),
            ("f64", "rpi") => Some(Alu::CeilF64),
            _ => None,
        } {
            row = self.step(alu, row, if have == "f64" { Class::Long } else { Class::Word });
        }
        let Some((alu, class)) = last_step(have, to, rounding) else { return self.unknown() };
        let d = self.destination(target, class)?;
        self.alu(alu, d, &[row]);
        if saturated {
            match *to {
                "f32" => self.alu(Alu::Saturate, d, &[d]),
                "f64" => self.alu(Alu::SaturateF64, d, &[d]),
                "f16" => self.alu(Alu::SaturateHalf, d, &[d]),
                // Integers are clamped anyway.
                _ if integer(to).is_some() => {}
                _ => return self.unknown(),
            }
        }
        Ok(())
    }

    fn step(&mut self, alu: Alu, row: u32, class: Class) -> u32 {
        let next = self.value(class, false);
        self.alu(alu, next, &[row]);
        next
    }

    fn float_source(&mut self, operand: &Operand, kind: &str) -> Result<u32, Refusal> {
        if let Some((bits, signed)) = integer(kind) {
            let Operand::Register(register) = operand else {
                let Some(class) = class_of(kind) else { return self.unknown() };
                return self.source(operand, class);
            };
            // A narrow integer may stand in a wider register: its low bits count.
            let class = self.class_of(*register);
            let row = self.source(operand, class)?;
            let to = if bits == 64 { Class::Long } else { Class::Word };
            let Some(alu) = extension(bits, signed, class, to) else { return self.unknown() };
            return Ok(if bits < 32 { self.step(alu, row, to) } else { row });
        }
        let Some(class) = class_of(kind) else { return self.unknown() };
        self.source(operand, class)
    }

    fn between_integers(
        &mut self,
        from: (u32, bool),
        to: (u32, bool),
        operands: &[Operand],
    ) -> Result<(), Refusal> {
        let [target, source] = operands else { return self.unknown() };
        let class = |operand: &Operand, bits: u32, decoder: &Self| match operand {
            Operand::Register(register) => decoder.class_of(*register),
            _ if bits == 64 => Class::Long,
            _ if bits == 32 => Class::Word,
            _ => Class::Half,
        };
        let (mut have, want) = (class(source, from.0, self), class(target, to.0, self));
        let mut row = self.source(source, have)?;
        let (bits, signed) = if to.0 > from.0 { from } else { to };
        if have == Class::Long && (bits < 32 || want == Class::Long && bits < 64) {
            row = self.step(Alu::Trunc64To32, row, Class::Word);
            have = Class::Word;
        }
        let Some(alu) = extension(bits, signed, have, want) else { return self.unknown() };
        let d = self.destination(target, want)?;
        self.alu(alu, d, &[row]);
        Ok(())
    }

    fn pairs(
        &mut self,
        to: &str,
        from: &str,
        rounding: &str,
        modifiers: &[&str],
        operands: &[Operand],
    ) -> Result<(), Refusal> {
        use Class::{Half, Word};
        let finite = modifiers.contains(&"satfinite");
        let (alu, source, result) = match (to, from, rounding, finite) {
            ("f16x2", "f32", "rn", false) => (Alu::F32ToHalf2, Word, Word),
            ("bf16x2", "f32", "rn", false) => (Alu::F32ToBrain2, Word, Word),
            ("e4m3x2", "f32", "rn", true) => (Alu::F32ToE4m3x2, Word, Half),
            ("e5m2x2", "f32", "rn", true) => (Alu::F32ToE5m2x2, Word, Half),
            ("e4m3x2", "f16x2", "rn", true) => (Alu::Half2ToE4m3x2, Word, Half),
            ("e5m2x2", "f16x2", "rn", true) => (Alu::Half2ToE5m2x2, Word, Half),
            ("f16x2", "e4m3x2", "rn", false) => (Alu::E4m3x2ToHalf2, Half, Word),
            ("f16x2", "e5m2x2", "rn", false) => (Alu::E5m2x2ToHalf2, Half, Word),
            _ => return self.unknown(),
        };
        self.lanes(alu, operands, &[source; 2], result)
    }
}

/// From `f32`, `f64` or an integer to the type wanted.
fn last_step(have: &str, to: &str, rounding: &str) -> Option<(Alu, Class)> {
    use Alu::*;
    use Class::{Half, Long, Word};
    Some(match (have, to, rounding) {
        ("f32", "f32", _) => (Move32, Word),
        ("f64", "f64", _) => (Move64, Long),
        ("f32", "f64", "") => (F32ToF64, Long),
        ("f64", "f32", "rn") => (F64ToF32, Word),
        ("f64", "f32", "rz") => (F64ToF32Zero, Word),
        ("f64", "f32", "rm") => (F64ToF32Down, Word),
        ("f64", "f32", "rp") => (F64ToF32Up, Word),
        ("f32", "f16", "rn" | "rni" | "rzi" | "rmi" | "rpi") => (F32ToHalf, Half),
        ("f32", "f16", "rz") => (F32ToHalfZero, Half),
        ("f32", "bf16", "rn") => (F32ToBrain, Half),
        ("f32", "bf16", "rz") => (F32ToBrainZero, Half),
        ("f32", "u32", "rni" | "rzi" | "rmi" | "rpi") => (F32ToU32, Word),
        ("f32", "s32", "rni" | "rzi" | "rmi" | "rpi") => (F32ToS32, Word),
        ("f32", "u64", "rni" | "rzi" | "rmi" | "rpi") => (F32ToU64, Long),
        ("f32", "s64", "rni" | "rzi" | "rmi" | "rpi") => (F32ToS64, Long),
        ("f32", "u16", "rni" | "rzi" | "rmi" | "rpi") => (F32ToU16, Half),
        ("f32", "s16", "rni" | "rzi" | "rmi" | "rpi") => (F32ToS16, Half),
        ("f32", "u8", "rni" | "rzi" | "rmi" | "rpi") => (F32ToU8, Half),
        ("f32", "s8", "rni" | "rzi" | "rmi" | "rpi") => (F32ToS8, Half),
        ("f64", "u32", "rni" | "rzi" | "rmi" | "rpi") => (F64ToU32, Word),
        ("f64", "s32", "rni" | "rzi" | "rmi" | "rpi") => (F64ToS32, Word),
        ("f64", "u64", "rni" | "rzi" | "rmi" | "rpi") => (F64ToU64, Long),
        ("f64", "s64", "rni" | "rzi" | "rmi" | "rpi") => (F64ToS64, Long),
        ("u8" | "u16" | "u32" | "b32", "f32", "rn") => (U32ToF32, Word),
        ("s8" | "s16" | "s32", "f32", "rn") => (S32ToF32, Word),
        ("u64", "f32", "rn") => (U64ToF32, Word),
        ("s64", "f32", "rn") => (S64ToF32, Word),
        ("u8" | "u16" | "u32", "f64", "rn") => (U32ToF64, Long),
        ("s8" | "s16" | "s32", "f64", "rn") => (S32ToF64, Long),
        ("u64", "f64", "rn") => (U64ToF64, Long),
        ("s64", "f64", "rn") => (S64ToF64, Long),
        _ => return None,
    })
}
