//! Arithmetic, logic, comparisons and moves.

use super::super::alu::Alu;
use super::super::compare::Test;
use super::super::op::{Code, Logic};
use super::super::parse::{Class, Operand, Refusal};
use super::Decoder;

/// The class of registers of a type.
pub(super) fn class_of(kind: &str) -> Option<Class> {
    Some(match kind {
        "pred" => Class::Pred,
        "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "f16" | "bf16" => Class::Half,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Class::Word,
        "b64" | "u64" | "s64" | "f64" | "f32x2" => Class::Long,
        _ => return None,
    })
}

/// What an opcode of one type does lane by lane; rounding is `rn` unless it says otherwise.
fn simple(opcode: &str, kind: &str, rounding: &str) -> Option<Alu> {
    use Alu::*;
    Some(match (opcode, kind, rounding) {
        ("add", "u32" | "s32" | "b32", _) => Add32,
        ("sub", "u32" | "s32", _) => Sub32,
        ("min", "u32", _) => MinU32,
        ("min", "s32", _) => MinS32,
        ("max", "u32", _) => MaxU32,
        ("max", "s32", _) => MaxS32,
        ("div", "u32", _) => DivU32,
        ("div", "s32", _) => DivS32,
        ("rem", "u32", _) => RemU32,
        ("rem", "s32", _) => RemS32,
        ("and", "b32", _) => And32,
        ("or", "b32", _) => Or32,
        ("xor", "b32", _) => Xor32,
        ("not", "b32", _) => Not32,
        ("neg", "s32", _) => Neg32,
        ("abs", "s32", _) => Abs32,
        ("shl", "b32", _) => Shl32,
        ("shr", "u32" | "b32", _) => ShrU32,
        ("shr", "s32", _) => ShrS32,
        ("sad", "s32", _) => Sad32,
        ("sad", "u32", _) => SadU32,
        ("popc", "b32", _) => Popc32,
        ("clz", "b32", _) => Clz32,
        ("brev", "b32", _) => Brev32,
        ("bfind", "u32", _) => BfindU32,
        ("bfind", "s32", _) => BfindS32,
        ("add", "u16" | "s16", _) => Add16,
        ("sub", "u16" | "s16", _) => Sub16,
        ("min", "u16", _) => MinU16,
        ("min", "s16", _) => MinS16,
        ("max", "u16", _) => MaxU16,
        ("max", "s16", _) => MaxS16,
        ("div", "u16", _) => DivU16,
        ("div", "s16", _) => DivS16,
        ("rem", "u16", _) => RemU16,
        ("rem", "s16", _) => RemS16,
        ("and", "b16", _) => And16,
        ("or", "b16", _) => Or16,
        ("xor", "b16", _) => Xor16,
        ("not", "b16", _) => Not16,
        ("neg", "s16", _) => Neg16,
        ("abs", "s16", _) => Abs16,
        ("shl", "b16", _) => Shl16,
        ("shr", "u16" | "b16", _) => ShrU16,
        ("shr", "s16", _) => ShrS16,
        ("add", "u64" | "s64", _) => Add64,
        ("sub", "u64" | "s64", _) => Sub64,
        ("min", "u64", _) => MinU64,
        ("min", "s64", _) => MinS64,
        ("max", "u64", _) => MaxU64,
        ("max", "s64", _) => MaxS64,
        ("div", "u64", _) => DivU64,
        ("div", "s64", _) => DivS64,
        ("rem", "u64", _) => RemU64,
        ("rem", "s64", _) => RemS64,
        ("and", "b64", _) => And64,
        ("or", "b64", _) => Or64,
        ("xor", "b64", _) => Xor64,
        ("not", "b64", _) => Not64,
        ("neg", "s64", _) => Neg64,
        ("abs", "s64", _) => Abs64,
        ("shl", "b64", _) => Shl64,
        ("shr", "u64" | "b64", _) => ShrU64,
        ("shr", "s64", _) => ShrS64,
        ("popc", "b64", _) => Popc64,
        ("clz", "b64", _) => Clz64,
        ("brev", "b64", _) => Brev64,
        ("add", "f32", "rn") => AddF32,
        ("add", "f32", "rz") => AddF32Zero,
        ("add", "f32", "rm") => AddF32Down,
        ("add", "f32", "rp") => AddF32Up,
        ("sub", "f32", "rn") => SubF32,
        ("sub", "f32", "rz") => SubF32Zero,
        ("sub", "f32", "rm") => SubF32Down,
        ("sub", "f32", "rp") => SubF32Up,
        ("mul", "f32", "rn") => MulF32,
        ("mul", "f32", "rz") => MulF32Zero,
        ("mul", "f32", "rm") => MulF32Down,
        ("mul", "f32", "rp") => MulF32Up,
        ("fma" | "mad", "f32", "rn") => FmaF32,
        ("fma" | "mad", "f32", "rz") => FmaF32Zero,
        ("fma" | "mad", "f32", "rm") => FmaF32Down,
        ("fma" | "mad", "f32", "rp") => FmaF32Up,
        ("fma", "f32x2", "rn") => FmaF32x2,
        ("add", "f32x2", "rn") => AddF32x2,
        ("mul", "f32x2", "rn") => MulF32x2,
        ("div", "f32", "rn" | "approx" | "full") => DivF32,
        ("min", "f32", _) => MinF32,
        ("max", "f32", _) => MaxF32,
        ("neg", "f32", _) => NegF32,
        ("abs", "f32", _) => AbsF32,
        ("copysign", "f32", _) => CopysignF32,
        ("sqrt", "f32", "rn" | "approx") => SqrtF32,
        ("rsqrt", "f32", "approx") => RsqrtF32,
        ("rcp", "f32", "rn" | "approx") => RcpF32,
        ("ex2", "f32", "approx") => Ex2F32,
        ("lg2", "f32", "approx") => Lg2F32,
        ("sin", "f32", "approx") => SinF32,
        ("cos", "f32", "approx") => CosF32,
        ("tanh", "f32", "approx") => TanhF32,
        ("add", "f64", "rn") => AddF64,
        ("sub", "f64", "rn") => SubF64,
        ("mul", "f64", "rn") => MulF64,
        ("div", "f64", "rn") => DivF64,
        ("fma" | "mad", "f64", "rn") => FmaF64,
        ("min", "f64", _) => MinF64,
        ("max", "f64", _) => MaxF64,
        ("neg", "f64", _) => NegF64,
        ("abs", "f64", _) => AbsF64,
        ("copysign", "f64", _) => CopysignF64,
        ("sqrt", "f64", "rn") => SqrtF64,
        ("rcp", "f64", "rn") => RcpF64,
        ("add", "f16", "rn") => AddHalf,
        ("sub", "f16", "rn") => SubHalf,
        ("mul", "f16", "rn") => MulHalf,
        ("fma", "f16", "rn") => FmaHalf,
        ("min", "f16", _) => MinHalf,
        ("max", "f16", _) => MaxHalf,
        ("neg", "f16" | "bf16", _) => NegHalf,
        ("abs", "f16" | "bf16", _) => AbsHalf,
        ("ex2", "f16", "approx") => Ex2Half,
        ("tanh", "f16", "approx") => TanhHalf,
        ("add", "f16x2", "rn") => AddHalf2,
        ("sub", "f16x2", "rn") => SubHalf2,
        ("mul", "f16x2", "rn") => MulHalf2,
        ("fma", "f16x2", "rn") => FmaHalf2,
        ("min", "f16x2", _) => MinHalf2,
        ("max", "f16x2", _) => MaxHalf2,
        ("neg", "f16x2" | "bf16x2", _) => NegHalf2,
        ("abs", "f16x2" | "bf16x2", _) => AbsHalf2,
        ("ex2", "f16x2", "approx") => Ex2Half2,
        ("tanh", "f16x2", "approx") => TanhHalf2,
        ("add", "bf16", "rn") => AddBrain,
        ("sub", "bf16", "rn") => SubBrain,
        ("mul", "bf16", "rn") => MulBrain,
        ("fma", "bf16", "rn") => FmaBrain,
        ("min", "bf16", _) => MinBrain,
        ("max", "bf16", _) => MaxBrain,
        ("add", "bf16x2", "rn") => AddBrain2,
        ("sub", "bf16x2", "rn") => SubBrain2,
        ("mul", "bf16x2", "rn") => MulBrain2,
        ("fma", "bf16x2", "rn") => FmaBrain2,
        ("min", "bf16x2", _) => MinBrain2,
        ("max", "bf16x2", _) => MaxBrain2,
        _ => return None,
    })
}

/// `mul` and `mad` of integers: which half of the product, of which type.
fn product(opcode: &str, part: &str, kind: &str) -> Option<(Alu, Class, Class)> {
    use Alu::*;
    use Class::{Half, Long, Word};
    Some(match (opcode, part, kind) {
        ("mul", "lo", "u32" | "s32") => (Mul32, Word, Word),
        ("mul", "hi", "u32") => (MulHighU32, Word, Word),
        ("mul", "hi", "s32") => (MulHighS32, Word, Word),
        ("mul", "wide", "u32") => (MulWideU32, Word, Long),
        ("mul", "wide", "s32") => (MulWideS32, Word, Long),
        ("mad", "lo", "u32" | "s32") => (Mad32, Word, Word),
        ("mad", "hi", "u32") => (MadHighU32, Word, Word),
        ("mad", "hi", "s32") => (MadHighS32, Word, Word),
        ("mad", "wide", "u32") => (MadWideU32, Word, Long),
        ("mad", "wide", "s32") => (MadWideS32, Word, Long),
        ("mul24", "lo", "u32") => (Mul24U32, Word, Word),
        ("mul24", "lo", "s32") => (Mul24S32, Word, Word),
        ("mul", "lo", "u16" | "s16") => (Mul16, Half, Half),
        ("mul", "hi", "u16") => (MulHighU16, Half, Half),
        ("mul", "hi", "s16") => (MulHighS16, Half, Half),
        ("mul", "wide", "u16") => (MulWideU16, Half, Word),
        ("mul", "wide", "s16") => (MulWideS16, Half, Word),
        ("mad", "lo", "u16" | "s16") => (Mad16, Half, Half),
        ("mad", "wide", "u16") => (MadWideU16, Half, Word),
        ("mad", "wide", "s16") => (MadWideS16, Half, Word),
        ("mul", "lo", "u64" | "s64") => (Mul64, Long, Long),
        ("mul", "hi", "u64") => (MulHighU64, Long, Long),
        ("mul", "hi", "s64") => (MulHighS64, Long, Long),
        ("mad", "lo", "u64" | "s64") => (Mad64, Long, Long),
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn arithmetic(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let opcode = parts[0];
        let modifiers = &parts[1..];
        let kind = parts[parts.len() - 1];
        let Some(class) = class_of(kind) else { return self.unknown() };
        match opcode {
            "mov" => return self.moves(class, operands),
            "setp" => return self.compare(modifiers, class, operands),
            "selp" => return self.select(class, operands),
            "and" | "or" | "xor" | "not" if kind == "pred" => return self.logic(opcode, operands),
            "lop3" => return self.lop3(operands),
            "prmt" => return self.permute(modifiers, operands),
            "bfe" | "bfi" | "shf" | "dp4a" => return self.bits(parts, operands),
            "mul" | "mad" | "mul24" if matches!(modifiers.first(), Some(&("lo" | "hi" | "wide"))) => {
                let Some((alu, from, to)) = product(opcode, modifiers[0], kind) else {
                    return self.unknown();
                };
                return self.lanes(alu, operands, &[from, from, to], to);
            }
            "bfind" if modifiers.contains(&"shiftamt") && kind == "u32" => {
                return self.lanes(Alu::BfindShiftU32, operands, &[Class::Word], Class::Word);
            }
            _ => {}
        }
        let rounding = if modifiers.iter().any(|m| matches!(*m, "approx" | "full")) {
            "approx"
        } else {
            modifiers.iter().find(|m| matches!(**m, "rn" | "rz" | "rm" | "rp")).copied().unwrap_or("rn")
        };
        let known = ["rn", "rz", "rm", "rp", "approx", "full", "ftz", "sat", "relu", "NaN"];
        if modifiers[..modifiers.len() - 1].iter().any(|modifier| !known.contains(modifier)) {
            return self.unknown();
        }
        let (alu, sources) = match (simple(opcode, kind, rounding), modifiers.contains(&"NaN"), opcode) {
            (Some(Alu::MinF32), true, _) => (Alu::MinNanF32, class),
            (Some(Alu::MaxF32), true, _) => (Alu::MaxNanF32, class),
            (Some(_), true, _) | (None, _, _) => return self.unknown(),
            (Some(alu), false, _) => (alu, class),
        };
        let result = match (opcode, kind) {
            ("popc" | "clz" | "bfind", _) => Class::Word,
            _ => class,
        };
        let shift = matches!(opcode, "shl" | "shr");
        let classes = [sources, if shift { Class::Word } else { sources }, sources];
        let flushed = modifiers.contains(&"ftz") && kind == "f32";
        self.float(alu, operands, &classes, result, flushed)?;
        let d = self.destination(&operands[0], result)?;
        if modifiers.contains(&"sat") {
            match kind {
                "f32" => self.alu(Alu::Saturate, d, &[d]),
                "f64" => self.alu(Alu::SaturateF64, d, &[d]),
                "f16" => self.alu(Alu::SaturateHalf, d, &[d]),
                "f16x2" => self.alu(Alu::SaturateHalf2, d, &[d]),
                _ => return self.unknown(),
            }
        }
        if modifiers.contains(&"relu") {
            match kind {
                "f16" => self.alu(Alu::ReluHalf, d, &[d]),
                "f16x2" => self.alu(Alu::ReluHalf2, d, &[d]),
                "bf16" => self.alu(Alu::ReluBrain, d, &[d]),
                "bf16x2" => self.alu(Alu::ReluBrain2, d, &[d]),
                _ => return self.unknown(),
            }
        }
        Ok(())
    }

    /// A lane-wise operation of a destination and up to three sources.
    pub(super) fn lanes(
        &mut self,
        alu: Alu,
        operands: &[Operand],
        sources: &[Class],
        result: Class,
    ) -> Result<(), Refusal> {
        self.float(alu, operands, sources, result, false)
    }

    fn float(
        &mut self,
        alu: Alu,
        operands: &[Operand],
        sources: &[Class],
        result: Class,
        flushed: bool,
    ) -> Result<(), Refusal> {
        let Some((first, rest)) = operands.split_first() else { return self.unknown() };
        if rest.len() > 3 || rest.len() > sources.len() {
            return self.unknown();
        }
        let d = self.destination(first, result)?;
        let mut rows = Vec::new();
        for (operand, class) in rest.iter().zip(sources) {
            let mut row = self.source(operand, *class)?;
            if flushed {
                let clean = self.value(Class::Word, false);
                self.alu(Alu::Flush, clean, &[row]);
                row = clean;
            }
            rows.push(row);
        }
        self.alu(alu, d, &rows);
        if flushed {
            self.alu(Alu::Flush, d, &[d]);
        }
        Ok(())
    }

    fn moves(&mut self, class: Class, operands: &[Operand]) -> Result<(), Refusal> {
        let [to, from] = operands else { return self.unknown() };
        if class == Class::Pred {
            let p = self.predicate(to)?;
            let mut op = self.op(Code::Predicate(Logic::Move));
            match from {
                Operand::Integer(value) => {
                    // A predicate that is always true or false: compare zero with it.
                    let other = self.constant(value & 1, false);
                    let Some(test) = Test::named("ne", "u32") else { return self.unknown() };
                    op = self.op(Code::Test(test, None));
                    op.a = other;
                }
                _ => (op.s, op.s_negated) = self.predicate_source(from)?,
            }
            op.p = p;
            self.push(op);
            return Ok(());
        }
        let bits = |class| match class {
            Class::Half => 16u8,
            Class::Word => 32,
            _ => 64,
        };
        match (to, from) {
            (Operand::Vector(parts), from) => {
                let width = bits(class) / u8::try_from(parts.len()).unwrap_or(1);
                let part = match width {
                    8 | 16 => Class::Half,
                    32 => Class::Word,
                    _ => return self.unknown(),
                };
                let source = self.source(from, class)?;
                let mut op = self.op(Code::Unpack { width, parts: u8::try_from(parts.len()).unwrap_or(1) });
                op.a = source;
                for operand in parts {
                    op.list.push(self.destination(operand, part)?);
                }
                op.defs = parts.len();
                self.push(op);
            }
            (to, Operand::Vector(parts)) => {
                let width = bits(class) / u8::try_from(parts.len()).unwrap_or(1);
                let part = match width {
                    8 | 16 => Class::Half,
                    32 => Class::Word,
                    _ => return self.unknown(),
                };
                let d = self.destination(to, class)?;
                let mut op = self.op(Code::Pack { width, parts: u8::try_from(parts.len()).unwrap_or(1) });
                op.d = d;
                for operand in parts {
                    let row = self.source(operand, part)?;
                    op.list.push(row);
                }
                self.push(op);
            }
            _ => {
                let alu = match class {
                    Class::Half => Alu::Move16,
                    Class::Word => Alu::Move32,
                    _ => Alu::Move64,
                };
                return self.lanes(alu, operands, &[class], class);
            }
        }
        Ok(())
    }

    /// `setp.how{.and|or|xor}{.ftz}.type p{|q}, a, b{, c}`.
    fn compare(&mut self, modifiers: &[&str], class: Class, operands: &[Operand]) -> Result<(), Refusal> {
        let kind = modifiers[modifiers.len() - 1];
        let Some(test) = Test::named(modifiers[0], kind) else { return self.unknown() };
        let join = modifiers.iter().find_map(|modifier| match *modifier {
            "and" => Some(Logic::And),
            "or" => Some(Logic::Or),
            "xor" => Some(Logic::Xor),
            _ => None,
        });
        let (Some(to), Some(a), Some(b)) = (operands.first(), operands.get(1), operands.get(2)) else {
            return self.unknown();
        };
        let mut op = self.op(Code::Test(test, join));
        (op.p, op.q) = match to {
            Operand::Pair(p, q) => (self.predicate(p)?, self.predicate(q)?),
            p => (self.predicate(p)?, super::NONE),
        };
        let mut rows = [self.source(a, class)?, self.source(b, class)?];
        if modifiers.contains(&"ftz") && kind == "f32" {
            for row in &mut rows {
                let clean = self.value(Class::Word, false);
                self.alu(Alu::Flush, clean, &[*row]);
                *row = clean;
            }
        }
        [op.a, op.b] = rows;
        if join.is_some() {
            let Some(c) = operands.get(3) else { return self.unknown() };
            (op.s, op.s_negated) = self.predicate_source(c)?;
        }
        self.push(op);
        Ok(())
    }

    fn select(&mut self, class: Class, operands: &[Operand]) -> Result<(), Refusal> {
        let [to, a, b, p] = operands else { return self.unknown() };
        let mut op = self.op(if class == Class::Long { Code::Select64 } else { Code::Select32 });
        op.d = self.destination(to, class)?;
        op.a = self.source(a, class)?;
        op.b = self.source(b, class)?;
        (op.s, op.s_negated) = self.predicate_source(p)?;
        self.push(op);
        Ok(())
    }

    /// Logic on predicates. The second operand is read as the guard of a copy of the first would be.
    fn logic(&mut self, opcode: &str, operands: &[Operand]) -> Result<(), Refusal> {
        let (to, a, b) = match operands {
            [to, a] => (to, a, None),
            [to, a, b] => (to, a, Some(b)),
            _ => return self.unknown(),
        };
        let logic = match opcode {
            "and" => Logic::And,
            "or" => Logic::Or,
            "xor" => Logic::Xor,
            _ => Logic::Not,
        };
        let mut op = self.op(Code::Predicate(logic));
        op.p = self.predicate(to)?;
        (op.s, op.s_negated) = self.predicate_source(a)?;
        if let Some(b) = b {
            let (second, negated) = self.predicate_source(b)?;
            // No field is left for it; it stands in `q`, which is only written by comparisons.
            op.q = second;
            op.imm = i64::from(negated);
        }
        self.push(op);
        Ok(())
    }

    fn lop3(&mut self, operands: &[Operand]) -> Result<(), Refusal> {
        let [to, a, b, c, Operand::Integer(table)] = operands else { return self.unknown() };
        let mut op = self.op(Code::Lop3);
        op.d = self.destination(to, Class::Word)?;
        op.a = self.source(a, Class::Word)?;
        op.b = self.source(b, Class::Word)?;
        op.c = self.source(c, Class::Word)?;
        op.imm = (table & 255).cast_signed();
        self.push(op);
        Ok(())
    }

    fn permute(&mut self, modifiers: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let ([to, a, b, c], ["b32"]) = (operands, modifiers) else { return self.unknown() };
        if let Operand::Integer(selector) = c {
            let mut op = self.op(Code::Permute);
            op.d = self.destination(to, Class::Word)?;
            op.a = self.source(a, Class::Word)?;
            op.b = self.source(b, Class::Word)?;
            op.imm = (selector & 0xffff).cast_signed();
            self.push(op);
            return Ok(());
        }
        self.lanes(Alu::Permute, operands, &[Class::Word; 3], Class::Word)
    }

    fn bits(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        use Class::{Long, Word};
        let alu = match parts {
            ["bfe", "u32"] => Alu::BfeU32,
            ["bfe", "s32"] => Alu::BfeS32,
            ["bfe", "u64"] => return self.lanes(Alu::BfeU64, operands, &[Long, Word, Word], Long),
            ["bfe", "s64"] => return self.lanes(Alu::BfeS64, operands, &[Long, Word, Word], Long),
            ["bfi", kind @ ("b32" | "b64")] => return self.insert(*kind == "b64", operands),
            ["shf", "l", "wrap", "b32"] => Alu::FunnelLeftWrap,
            ["shf", "l", "clamp", "b32"] => Alu::FunnelLeftClamp,
            ["shf", "r", "wrap", "b32"] => Alu::FunnelRightWrap,
            ["shf", "r", "clamp", "b32"] => Alu::FunnelRightClamp,
            ["dp4a", "u32", "u32"] => Alu::Dot4UU,
            ["dp4a", "u32", "s32"] => Alu::Dot4US,
            ["dp4a", "s32", "u32"] => Alu::Dot4SU,
            ["dp4a", "s32", "s32"] => Alu::Dot4SS,
            _ => return self.unknown(),
        };
        self.lanes(alu, operands, &[Word; 3], Word)
    }

    /// `bfi d, field, into, from, count`: the field moved to its place, then blended under a mask.
    fn insert(&mut self, long: bool, operands: &[Operand]) -> Result<(), Refusal> {
        let [to, field, into, from, count] = operands else { return self.unknown() };
        let class = if long { Class::Long } else { Class::Word };
        let (field, into) = (self.source(field, class)?, self.source(into, class)?);
        let (from, count) = (self.source(from, Class::Word)?, self.source(count, Class::Word)?);
        let d = self.destination(to, class)?;
        let (mask, moved) = (self.value(class, false), self.value(class, false));
        let (make, shift, blend) = if long {
            (Alu::BfiMask64, Alu::Shl64, Alu::Blend64)
        } else {
            (Alu::BfiMask32, Alu::Shl32, Alu::Blend32)
        };
        self.alu(make, mask, &[from, count]);
        self.alu(shift, moved, &[field, from]);
        self.alu(blend, d, &[moved, into, mask]);
        Ok(())
    }
}
