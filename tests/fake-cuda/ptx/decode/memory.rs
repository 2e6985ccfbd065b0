//! Loads, stores, atomics, address conversion and `cp.async`.

use super::super::alu::Alu;
use super::super::op::{Access, Atomic, Code, Space};
use super::super::parse::{Class, Operand, Refusal, VariableSpace};
use super::arithmetic::class_of;
use super::{Decoder, LOCAL_WINDOW, SHARED_WINDOW, ZERO};

/// Modifiers that change where data is cached or who sees it when, which this machine has no part in.
fn is_hint(modifier: &str) -> bool {
    matches!(
        modifier,
        "weak"
            | "volatile"
            | "relaxed"
            | "acquire"
            | "release"
            | "acq_rel"
            | "cta"
            | "cluster"
            | "gpu"
            | "sys"
            | "nc"
            | "ca"
            | "cg"
            | "cs"
            | "lu"
            | "cv"
            | "wb"
            | "wt"
            | "noftz"
    ) || modifier.starts_with("L1::")
        || (modifier.starts_with("L2::") && modifier != "L2::cache_hint")
}

fn bytes(kind: &str) -> Option<u8> {
    let at = kind.find(|c: char| c.is_ascii_digit())?;
    Some(match &kind[at..] {
        "8" => 1,
        "16" => 2,
        "32" | "16x2" => 4,
        "64" => 8,
        _ => return None,
    })
}

impl Decoder<'_> {
    pub(super) fn memory(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        match parts[0] {
            "ld" | "ldu" | "st" => self.access(parts, operands),
            "atom" | "red" => self.atomic(parts, operands),
            "cvta" => self.generic(parts, operands),
            "cp" => self.asynchronous(parts, operands),
            _ => self.unknown(),
        }
    }

    /// The space that an address is in, by its name and by what it points to.
    fn space(&self, name: Option<&str>, address: &Operand) -> Option<Space> {
        Some(match name {
            None => Space::Generic,
            Some("global" | "const") => Space::Global,
            Some("shared" | "shared::cta") => Space::Shared,
            Some("local") => Space::Local,
            Some("param" | "param::entry" | "param::func") => {
                let Operand::Address(base, _) = address else { return None };
                let own = |at: usize| self.function.entry && self.function.params.contains(&at);
                match **base {
                    // Those of a call lie in the caller's local memory.
                    Operand::Variable(at) if !own(at) => Space::Local,
                    _ if self.function.entry => Space::Param,
                    _ => Space::Local,
                }
            }
            Some(_) => return None,
        })
    }

    fn access(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let load = parts[0] != "st";
        let kind = parts[parts.len() - 1];
        let (mut space, mut count) = (None, 1);
        for modifier in &parts[1..parts.len() - 1] {
            match *modifier {
                "global" | "const" | "shared" | "shared::cta" | "local" | "param" | "param::entry"
                | "param::func" => space = Some(*modifier),
                "v2" => count = 2,
                "v4" => count = 4,
                "v8" => count = 8,
                hint if is_hint(hint) => {}
                _ => return self.unknown(),
            }
        }
        let (Some(width), Some(class)) = (bytes(kind), class_of(kind)) else { return self.unknown() };
        let [first, second] = operands else { return self.unknown() };
        let (data, address) = if load { (first, second) } else { (second, first) };
        let Some(space) = self.space(space, address) else { return self.unknown() };
        let (base, offset, wide) = self.based(address)?;
        let elements = match data {
            Operand::Vector(all) => all.clone(),
            one => vec![one.clone()],
        };
        if elements.len() != count {
            return self.refuse(format!(
                "{}: {} elements where {count} are meant",
                self.name,
                elements.len()
            ));
        }
        let mut list = Vec::new();
        let mut of_all = None;
        for element in &elements {
            let class = match element {
                Operand::Register(register) => self.class_of(*register),
                Operand::Sink => of_all.unwrap_or(class),
                _ => class,
            };
            if *of_all.get_or_insert(class) != class || class == Class::Pred {
                return self.refuse(format!("{}: registers of different widths", self.name));
            }
            let fits = match class {
                Class::Half => 2,
                Class::Word => 4,
                _ => 8,
            };
            if fits < width {
                return self.refuse(format!("{}: a register is too narrow", self.name));
            }
            list.push(if load { self.destination(element, class)? } else { self.source(element, class)? });
        }
        let class = of_all.unwrap_or(class);
        let access = Access {
            space,
            count: u8::try_from(count).unwrap_or(1),
            width,
            signed: kind.starts_with('s') && width < 8,
            long: class == Class::Long,
            half: class == Class::Half,
            wide,
        };
        let mut op = self.op(if load { Code::Load(access) } else { Code::Store(access) });
        (op.a, op.imm) = (base, offset);
        op.defs = if load { list.len() } else { 0 };
        op.list = list;
        self.push(op);
        Ok(())
    }

    /// As [`Decoder::place`], with the place of a variable folded into the offset.
    fn based(&mut self, address: &Operand) -> Result<(u32, i64, bool), Refusal> {
        if let Operand::Address(base, offset) = address
            && let Operand::Variable(at) = **base
        {
            return Ok((ZERO, i64::from(self.variables[at]) + offset, true));
        }
        self.place(address)
    }

    /// The whole address in a row of 64 bits.
    fn long_address(&mut self, address: &Operand) -> Result<u32, Refusal> {
        let (mut row, offset, wide) = self.based(address)?;
        if !wide {
            let long = self.value(Class::Long, false);
            self.alu(Alu::Zext32To64, long, &[row]);
            row = long;
        }
        if offset != 0 {
            let offset = self.constant(offset.cast_unsigned(), true);
            let sum = self.value(Class::Long, false);
            self.alu(Alu::Add64, sum, &[row, offset]);
            row = sum;
        }
        Ok(row)
    }

    fn atomic(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let returns = parts[0] == "atom";
        let kind = parts[parts.len() - 1];
        let (mut space, mut what) = (None, None);
        for modifier in &parts[1..parts.len() - 1] {
            match *modifier {
                "global" | "shared" | "shared::cta" => space = Some(*modifier),
                hint if is_hint(hint) => {}
                operation if what.is_none() => what = Some(operation),
                _ => return self.unknown(),
            }
        }
        let what = match (what, kind) {
            (Some("add"), "f32") => Atomic::AddF32,
            (Some("add"), "f64") => Atomic::AddF64,
            (Some("add"), "f16x2") => Atomic::AddF16x2,
            (Some("add"), "u32" | "s32" | "u64" | "s64") => Atomic::Add,
            (Some("and"), "b32" | "b64") => Atomic::And,
            (Some("or"), "b32" | "b64") => Atomic::Or,
            (Some("xor"), "b32" | "b64") => Atomic::Xor,
            (Some("exch"), "b32" | "b64") => Atomic::Exchange,
            (Some("cas"), "b32" | "b64") => Atomic::Swap,
            (Some("min"), "u32" | "u64") => Atomic::MinU,
            (Some("min"), "s32" | "s64") => Atomic::MinS,
            (Some("max"), "u32" | "u64") => Atomic::MaxU,
            (Some("max"), "s32" | "s64") => Atomic::MaxS,
            (Some("inc"), "u32") => Atomic::Increment,
            (Some("dec"), "u32") => Atomic::Decrement,
            _ => return self.unknown(),
        };
        let Some(class) = class_of(kind) else { return self.unknown() };
        let (to, rest) = if returns {
            let Some((to, rest)) = operands.split_first() else { return self.unknown() };
            (Some(to), rest)
        } else {
            (None, operands)
        };
        let (Some(address), Some(value)) = (rest.first(), rest.get(1)) else { return self.unknown() };
        let Some(space) = self.space(space, address) else { return self.unknown() };
        let address = self.long_address(address)?;
        let long = class == Class::Long;
        let mut op = self.op(Code::Atomic { what, space, long, returns });
        op.a = address;
        op.b = self.source(value, class)?;
        if what == Atomic::Swap {
            let Some(other) = rest.get(2) else { return self.unknown() };
            op.c = self.source(other, class)?;
        }
        if let Some(to) = to {
            op.d = self.destination(to, class)?;
        }
        self.push(op);
        Ok(())
    }

    /// `cvta` and `cvta.to`.
    fn generic(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let to = parts.get(1) == Some(&"to");
        let (space, kind) = (parts[parts.len() - 2], parts[parts.len() - 1]);
        let [target, source] = operands else { return self.unknown() };
        if kind != "u64" {
            return self.unknown();
        }
        let window = match space {
            "global" | "const" => 0,
            "shared" | "shared::cta" => SHARED_WINDOW,
            "local" => LOCAL_WINDOW,
            _ => return self.unknown(),
        };
        // The address of a kernel's parameter is one among parameters alone.
        if let Operand::Variable(at) = source
            && self.function.variables[*at].space == VariableSpace::Param
        {
            return self.unknown();
        }
        let row = self.source(source, Class::Long)?;
        let d = self.destination(target, Class::Long)?;
        let window = self.constant(window, true);
        self.alu(if to { Alu::Sub64 } else { Alu::Add64 }, d, &[row, window]);
        Ok(())
    }

    fn asynchronous(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        match &parts[1..] {
            ["async", "commit_group"] => {
                let op = self.op(Code::AsyncCommit);
                self.push(op);
                Ok(())
            }
            ["async", "wait_all"] => {
                let op = self.op(Code::AsyncWait { all: true });
                self.push(op);
                Ok(())
            }
            ["async", "wait_group"] => {
                let [Operand::Integer(count)] = operands else { return self.unknown() };
                let mut op = self.op(Code::AsyncWait { all: false });
                op.imm = count.cast_signed();
                self.push(op);
                Ok(())
            }
            ["async", cache @ ("ca" | "cg"), "shared" | "shared::cta", "global", hints @ ..]
                if hints.iter().all(|hint| is_hint(hint)) =>
            {
                let (Some(to), Some(from), Some(Operand::Integer(size))) =
                    (operands.first(), operands.get(1), operands.get(2))
                else {
                    return self.unknown();
                };
                if !matches!((*cache, *size), ("ca", 4 | 8 | 16) | ("cg", 16)) {
                    return self.refuse(format!("{} of {size} bytes", self.name));
                }
                let (to, from) = (self.long_address(to)?, self.long_address(from)?);
                let source = match operands.get(3) {
                    None => self.constant(*size, false),
                    Some(operand) => self.source(operand, Class::Word)?,
                };
                let mut op = self.op(Code::AsyncCopy);
                (op.a, op.b, op.c) = (to, from, source);
                op.imm = size.cast_signed();
                self.push(op);
                Ok(())
            }
            _ => self.unknown(),
        }
    }
}
