//! Which family an instruction belongs to, and those that move control: branches, calls, ends.

use super::super::op::{Access, Code, NONE, Space};
use super::super::parse::{Class, Instruction, Operand, Refusal};
use super::Decoder;

impl Decoder<'_> {
    /// The index of the instruction at a label.
    pub(super) fn label(&self, operand: &Operand) -> Result<i64, Refusal> {
        let Operand::Name(name) = operand else { return self.refuse("a branch without a label") };
        match self.function.labels.get(name) {
            Some(at) => Ok(i64::try_from(*at).unwrap_or_default()),
            None => self.refuse(format!("label {name} is not there")),
        }
    }

    pub(super) fn instruction(&mut self, instruction: &Instruction) -> Result<(), Refusal> {
        self.line = instruction.line;
        self.name = instruction.parts.join(".");
        self.guard = match instruction.guard {
            Some((register, negated)) if self.class_of(register) == Class::Pred => {
                (self.registers[register], negated)
            }
            Some(_) => return self.refuse("a guard that is no predicate"),
            None => (NONE, false),
        };
        let parts: Vec<&str> = instruction.parts.iter().map(String::as_str).collect();
        let operands = &instruction.operands;
        match parts[0] {
            "bra" => {
                let mut op = self.op(Code::Branch);
                op.imm = match operands.first() {
                    Some(label) => self.label(label)?,
                    None => return self.refuse("bra without a label"),
                };
                self.push(op);
                Ok(())
            }
            "brx" => self.branch_table(operands),
            "call" => self.call(operands),
            "ret" => {
                let code = if self.function.entry { Code::Exit } else { Code::Return };
                let op = self.op(code);
                self.push(op);
                Ok(())
            }
            "exit" => {
                let op = self.op(Code::Exit);
                self.push(op);
                Ok(())
            }
            "trap" | "brkpt" => {
                let op = self.op(Code::Trap);
                self.push(op);
                Ok(())
            }
            "membar" | "fence" | "prefetch" | "prefetchu" | "nanosleep" | "griddepcontrol" | "discard"
            | "applypriority" => {
                if parts.contains(&"proxy") {
                    return self.unknown();
                }
                let op = self.op(Code::Nothing);
                self.push(op);
                Ok(())
            }
            "ld" | "ldu" | "st" | "atom" | "red" | "cvta" | "isspacep" | "cp" => {
                self.memory(&parts, operands)
            }
            "cvt" => self.convert(&parts, operands),
            "shfl" | "vote" | "match" | "activemask" | "elect" | "redux" | "bar" | "barrier" | "mma"
            | "ldmatrix" | "movmatrix" => self.warp(&parts, operands),
            _ => self.arithmetic(&parts, operands),
        }
    }

    pub(super) fn branch_table(&mut self, operands: &[Operand]) -> Result<(), Refusal> {
        let [index, Operand::Name(name)] = operands else { return self.unknown() };
        let index = self.source(index, Class::Word)?;
        let Some(labels) = self.function.tables.get(name) else {
            return self.refuse(format!("table {name} is not there"));
        };
        let targets = labels.iter().map(|label| self.label(&Operand::Name(label.clone())));
        let targets: Vec<u32> =
            targets.map(|at| at.map(|at| u32::try_from(at).unwrap_or_default())).collect::<Result<_, _>>()?;
        let mut op = self.op(Code::BranchTable);
        op.a = index;
        op.imm = i64::try_from(self.tables.len()).unwrap_or_default();
        self.tables.push(targets);
        self.push(op);
        Ok(())
    }

    /// `call (results), name, (arguments)`: arguments and results are copied within local memory.
    pub(super) fn call(&mut self, operands: &[Operand]) -> Result<(), Refusal> {
        let at = operands.iter().position(|operand| matches!(operand, Operand::Name(_)));
        let Some(at) = at else { return self.refuse("an indirect call is not supported") };
        let Operand::Name(name) = &operands[at] else { return self.unknown() };
        let empty = Vec::new();
        let list = |operand: Option<&'_ Operand>| match operand {
            Some(Operand::Vector(all)) => all.clone(),
            _ => empty.clone(),
        };
        let results = if at == 0 { Vec::new() } else { list(operands.first()) };
        let arguments = list(operands.get(at + 1));
        let Some(frame) = self.functions.iter().find(|frame| frame.name == *name) else {
            return self.refuse(format!("{name} is not there"));
        };
        let (start, params, returns) = (frame.start, frame.params.clone(), frame.returns.clone());
        if params.len() != arguments.len() || returns.len() != results.len() {
            return self.refuse(format!("{name} is called with other parameters than it has"));
        }
        for (argument, (to, size)) in arguments.iter().zip(params) {
            let Operand::Variable(variable) = argument else { return self.unknown() };
            self.copy_local(self.variables[*variable], to, size);
        }
        let mut op = self.op(Code::Call);
        op.imm = i64::from(start);
        self.push(op);
        for (result, (from, size)) in results.iter().zip(returns) {
            let Operand::Variable(variable) = result else { return self.unknown() };
            self.copy_local(from, self.variables[*variable], size);
        }
        Ok(())
    }

    pub(super) fn copy_local(&mut self, from: u32, to: u32, size: u32) {
        let mut done = 0;
        while done < size {
            let width = [8, 4, 2, 1].into_iter().find(|width| size - done >= *width).unwrap_or(1);
            let long = width == 8;
            let access = Access {
                space: Space::Local,
                count: 1,
                width: u8::try_from(width).unwrap_or(1),
                signed: false,
                long,
                half: false,
                wide: true,
            };
            let row = self.value(if long { Class::Long } else { Class::Word }, false);
            let mut load = self.op(Code::Load(access));
            load.imm = i64::from(from + done);
            load.list = vec![row];
            load.defs = 1;
            let mut store = self.op(Code::Store(access));
            store.imm = i64::from(to + done);
            store.list = vec![row];
            self.push(load);
            self.push(store);
            done += width;
        }
    }
}
