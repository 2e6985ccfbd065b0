//! Operands as rows of registers and predicates: constants, special registers and addresses become rows too.

use super::super::alu::Alu;
use super::super::op::{Code, NONE, Op};
use super::super::parse::{Class, Operand, Refusal};
use super::{Decoder, Special, ZERO};

impl Decoder<'_> {
    pub(super) fn class_of(&self, register: usize) -> Class {
        self.function.registers[register]
    }

    /// Adds an operation.
    pub(super) fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    pub(super) fn op(&self, code: Code) -> Op {
        Op::new(code, ZERO, self.line)
    }

    /// Adds a lane-wise operation.
    pub(super) fn alu(&mut self, alu: Alu, d: u32, sources: &[u32]) {
        let mut op = self.op(Code::Alu(alu));
        op.d = d;
        for (field, source) in [&mut op.a, &mut op.b, &mut op.c].into_iter().zip(sources) {
            *field = *source;
        }
        self.push(op);
    }

    /// The row of a source of a class. A register of another width is refused unless `loose`.
    pub(super) fn source(&mut self, operand: &Operand, class: Class) -> Result<u32, Refusal> {
        let wide = class == Class::Long;
        Ok(match operand {
            Operand::Register(register) => {
                let is = self.class_of(*register);
                if is != class {
                    return self
                        .refuse(format!("{}: a register of {is:?} where {class:?} is meant", self.name));
                }
                self.registers[*register]
            }
            Operand::Integer(value) => match class {
                Class::Long => self.constant(*value, true),
                Class::Word => self.constant(*value & 0xffff_ffff, false),
                Class::Half => self.constant(*value & 0xffff, false),
                Class::Pred => return self.refuse("a number where a predicate is meant"),
            },
            Operand::Single(bits) if class == Class::Word => self.constant(u64::from(*bits), false),
            Operand::Double(bits) if wide => self.constant(*bits, true),
            Operand::Special(name) => self.special(name, class)?,
            Operand::Variable(at) => self.constant_of_class(u64::from(self.variables[*at]), class),
            Operand::Name(name) => self.symbol(name, class)?,
            other => return self.refuse(format!("{}: operand {other:?} is not supported here", self.name)),
        })
    }

    pub(super) fn constant_of_class(&mut self, value: u64, class: Class) -> u32 {
        self.constant(value, class == Class::Long)
    }

    /// The address of a name of the module.
    pub(super) fn symbol(&mut self, name: &str, class: Class) -> Result<u32, Refusal> {
        let shared = self.module.shared.iter().find(|variable| variable.name == name);
        if let Some(variable) = shared {
            if variable.size.is_some() {
                let place = match self.shared.get(name) {
                    Some(place) => *place,
                    None => {
                        let place = self.shared_place(variable);
                        self.shared.insert(name.to_owned(), place);
                        place
                    }
                };
                return Ok(self.constant_of_class(u64::from(place), class));
            }
            // Its place is known when all static variables have theirs.
            self.dynamic_align = self.dynamic_align.max(variable.align);
            let wide = class == Class::Long;
            if let Some((row, _)) = self.dynamic_names.iter().find(|(_, of_row)| *of_row == wide) {
                return Ok(*row);
            }
            let row = self.value(if wide { Class::Long } else { Class::Word }, true);
            self.dynamic_names.push((row, wide));
            return Ok(row);
        }
        match (self.address)(name) {
            Some(address) => Ok(self.constant_of_class(address, class)),
            None => self.refuse(format!("{name} is not declared")),
        }
    }

    pub(super) fn special(&mut self, name: &str, class: Class) -> Result<u32, Refusal> {
        let axis = |name: &str| match name.rsplit('.').next() {
            Some("x") => Some(0),
            Some("y") => Some(1),
            Some("z") => Some(2),
            _ => None,
        };
        let special = match (name.split('.').next().unwrap_or_default(), axis(name)) {
            ("%tid", Some(axis)) => Special::Tid(axis),
            ("%ntid", Some(axis)) => Special::Ntid(axis),
            ("%ctaid", Some(axis)) => Special::Ctaid(axis),
            ("%nctaid", Some(axis)) => Special::Nctaid(axis),
            ("%laneid", _) => Special::Lane,
            ("%warpid", _) => Special::Warp,
            ("%nwarpid", _) => Special::Warps,
            ("%smid", _) => Special::Multiprocessor,
            ("%nsmid", _) => Special::Multiprocessors,
            ("%lanemask_eq", _) => Special::MaskEq,
            ("%lanemask_lt", _) => Special::MaskLt,
            ("%lanemask_le", _) => Special::MaskLe,
            ("%lanemask_gt", _) => Special::MaskGt,
            ("%lanemask_ge", _) => Special::MaskGe,
            ("%dynamic_smem_size", _) => Special::DynamicShared,
            ("%total_smem_size", _) => Special::TotalShared,
            _ => return self.refuse(format!("{name} is not supported")),
        };
        if class != Class::Word && class != Class::Half {
            return self.refuse(format!("{name} has 32 bits, {class:?} is meant"));
        }
        if let Some(row) = self.specials.get(&special) {
            return Ok(*row);
        }
        let row = self.value(Class::Word, true);
        self.specials.insert(special, row);
        Ok(row)
    }

    /// The row of a destination, or [`NONE`] for `_`.
    pub(super) fn destination(&mut self, operand: &Operand, class: Class) -> Result<u32, Refusal> {
        match operand {
            Operand::Register(register) if self.class_of(*register) == class => Ok(self.registers[*register]),
            Operand::Sink => Ok(self.value(class, false)),
            other => self.refuse(format!("{}: destination {other:?} is not of {class:?}", self.name)),
        }
    }

    /// A predicate that is written.
    pub(super) fn predicate(&mut self, operand: &Operand) -> Result<u32, Refusal> {
        match operand {
            Operand::Register(register) if self.class_of(*register) == Class::Pred => {
                Ok(self.registers[*register])
            }
            Operand::Sink => Ok(NONE),
            other => self.refuse(format!("{}: {other:?} is no predicate", self.name)),
        }
    }

    /// A predicate that is read, and whether its complement is meant.
    pub(super) fn predicate_source(&mut self, operand: &Operand) -> Result<(u32, bool), Refusal> {
        match operand {
            Operand::Register(register) | Operand::Not(register)
                if self.class_of(*register) == Class::Pred =>
            {
                Ok((self.registers[*register], matches!(operand, Operand::Not(_))))
            }
            other => self.refuse(format!("{}: {other:?} is no predicate", self.name)),
        }
    }

    /// Base row and offset of an address in a space.
    pub(super) fn place(&mut self, operand: &Operand) -> Result<(u32, i64, bool), Refusal> {
        let Operand::Address(base, offset) = operand else {
            return self.refuse(format!("{}: {operand:?} is no address", self.name));
        };
        Ok(match &**base {
            Operand::Register(register) => {
                let class = self.class_of(*register);
                if !matches!(class, Class::Word | Class::Long) {
                    return self.refuse("an address of less than 32 bits");
                }
                (self.registers[*register], *offset, class == Class::Long)
            }
            Operand::Integer(value) => (ZERO, value.wrapping_add(offset.cast_unsigned()).cast_signed(), true),
            other => (self.source(other, Class::Long)?, *offset, true),
        })
    }
}
