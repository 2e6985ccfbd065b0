//! Instructions of a whole warp: shuffles, votes, barriers, matrices.

use super::super::alu::Alu;
use super::super::op::{Barrier, Code, Element, Mma, Reduction, Shuffle, Vote};
use super::super::parse::{Class, Operand, Refusal};
use super::{Decoder, NONE};

impl Decoder<'_> {
    pub(super) fn warp(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        match parts {
            ["shfl", "sync", mode, "b32"] => self.shuffle(mode, operands),
            ["vote", "sync", mode, _] => self.vote(mode, operands),
            ["match", mode @ ("any" | "all"), "sync", kind @ ("b32" | "b64")] => {
                let long = *kind == "b64";
                let (Some(to), Some(value), Some(mask)) =
                    (operands.first(), operands.get(1), operands.get(2))
                else {
                    return self.unknown();
                };
                let mut op = self.op(Code::Match { all: *mode == "all", long });
                (op.d, op.p) = self.with_predicate(to)?;
                op.a = self.source(value, if long { Class::Long } else { Class::Word })?;
                op.b = self.source(mask, Class::Word)?;
                self.push(op);
                Ok(())
            }
            ["activemask", "b32"] => {
                let [to] = operands else { return self.unknown() };
                let mut op = self.op(Code::Active);
                op.d = self.destination(to, Class::Word)?;
                self.push(op);
                Ok(())
            }
            ["elect", "sync"] => {
                let [to, mask] = operands else { return self.unknown() };
                let mut op = self.op(Code::Elect);
                (op.d, op.p) = self.with_predicate(to)?;
                op.b = self.source(mask, Class::Word)?;
                self.push(op);
                Ok(())
            }
            ["redux", "sync", what, kind] => {
                let reduction = match (*what, *kind) {
                    ("add", "u32" | "s32") => Reduction::Add,
                    ("min", "s32") => Reduction::MinS,
                    ("max", "s32") => Reduction::MaxS,
                    ("min", "u32") => Reduction::MinU,
                    ("max", "u32") => Reduction::MaxU,
                    ("and", "b32") => Reduction::And,
                    ("or", "b32") => Reduction::Or,
                    ("xor", "b32") => Reduction::Xor,
                    _ => return self.unknown(),
                };
                let [to, value, mask] = operands else { return self.unknown() };
                let mut op = self.op(Code::Reduce(reduction));
                op.d = self.destination(to, Class::Word)?;
                op.a = self.source(value, Class::Word)?;
                op.b = self.source(mask, Class::Word)?;
                self.push(op);
                Ok(())
            }
            ["bar", "warp", "sync"] => {
                let [mask] = operands else { return self.unknown() };
                let mut op = self.op(Code::WarpSync);
                op.b = self.source(mask, Class::Word)?;
                self.push(op);
                Ok(())
            }
            ["bar" | "barrier", rest @ ..] => self.barrier(parts[0] == "bar", rest, operands),
            ["mma", "sync", "aligned", rest @ ..] => self.mma(rest, operands),
            ["ldmatrix", "sync", "aligned", "m8n8", rest @ ..] => self.load_matrix(rest, operands),
            ["movmatrix", "sync", "aligned", "m8n8", "trans", "b16"] => {
                let [to, from] = operands else { return self.unknown() };
                let mut op = self.op(Code::MoveMatrix);
                op.d = self.destination(to, Class::Word)?;
                op.a = self.source(from, Class::Word)?;
                self.push(op);
                Ok(())
            }
            _ => self.unknown(),
        }
    }

    /// `d`, `d|p` or `_|p`.
    fn with_predicate(&mut self, operand: &Operand) -> Result<(u32, u32), Refusal> {
        match operand {
            Operand::Pair(d, p) => Ok((self.destination(d, Class::Word)?, self.predicate(p)?)),
            d => Ok((self.destination(d, Class::Word)?, NONE)),
        }
    }

    fn shuffle(&mut self, mode: &str, operands: &[Operand]) -> Result<(), Refusal> {
        let mode = match mode {
            "idx" => Shuffle::Index,
            "up" => Shuffle::Up,
            "down" => Shuffle::Down,
            "bfly" => Shuffle::Butterfly,
            _ => return self.unknown(),
        };
        let [to, value, lane, clamp, mask] = operands else { return self.unknown() };
        let mut op = self.op(Code::Shuffle(mode));
        (op.d, op.p) = self.with_predicate(to)?;
        op.a = self.source(value, Class::Word)?;
        op.b = self.source(lane, Class::Word)?;
        op.c = self.source(clamp, Class::Word)?;
        op.list = vec![self.source(mask, Class::Word)?];
        self.push(op);
        Ok(())
    }

    fn vote(&mut self, mode: &str, operands: &[Operand]) -> Result<(), Refusal> {
        let mode = match mode {
            "all" => Vote::All,
            "any" => Vote::Any,
            "uni" => Vote::Uniform,
            "ballot" => Vote::Ballot,
            _ => return self.unknown(),
        };
        let [to, predicate, mask] = operands else { return self.unknown() };
        let mut op = self.op(Code::Vote(mode));
        if mode == Vote::Ballot {
            op.d = self.destination(to, Class::Word)?;
        } else {
            op.p = self.predicate(to)?;
        }
        (op.s, op.s_negated) = self.predicate_source(predicate)?;
        op.b = self.source(mask, Class::Word)?;
        self.push(op);
        Ok(())
    }

    /// `bar.sync a{, b}` and its kin: `a` the barrier, `b` how many threads.
    fn barrier(&mut self, short: bool, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let parts: Vec<&str> = parts.iter().copied().filter(|part| *part != "cta").collect();
        let aligned = short || parts.contains(&"aligned");
        if !aligned {
            return self.unknown();
        }
        let parts: Vec<&str> = parts.into_iter().filter(|part| *part != "aligned").collect();
        let (what, to, rest, joined) = match (parts.as_slice(), operands) {
            (["sync"], rest) => (Barrier::Sync, None, rest, None),
            (["arrive"], rest) => (Barrier::Arrive, None, rest, None),
            (["red", "popc", "u32"], [to, rest @ .., joined]) => {
                (Barrier::Count, Some(to), rest, Some(joined))
            }
            (["red", "and", "pred"], [to, rest @ .., joined]) => (Barrier::All, Some(to), rest, Some(joined)),
            (["red", "or", "pred"], [to, rest @ .., joined]) => (Barrier::Any, Some(to), rest, Some(joined)),
            _ => return self.unknown(),
        };
        let Some(which) = rest.first() else { return self.unknown() };
        let mut op = self.op(Code::Barrier(what));
        op.a = self.source(which, Class::Word)?;
        if let Some(threads) = rest.get(1) {
            op.b = self.source(threads, Class::Word)?;
        }
        if let Some(joined) = joined {
            (op.s, op.s_negated) = self.predicate_source(joined)?;
        }
        match (what, to) {
            (Barrier::Count, Some(to)) => op.d = self.destination(to, Class::Word)?,
            (_, Some(to)) => op.p = self.predicate(to)?,
            _ => {}
        }
        self.push(op);
        Ok(())
    }

    fn mma(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let [shape, "row", "col", d, a, b, c] = parts else { return self.unknown() };
        let element = |name: &str| {
            Some(match name {
                "f16" => Element::Half,
                "bf16" => Element::Brain,
                "e4m3" => Element::E4m3,
                "e5m2" => Element::E5m2,
                "s8" => Element::Signed,
                "u8" => Element::Unsigned,
                _ => return None,
            })
        };
        let (Some(a), Some(b)) = (element(a), element(b)) else { return self.unknown() };
        let integer = |element| matches!(element, Element::Signed | Element::Unsigned);
        let small = |element| matches!(element, Element::E4m3 | Element::E5m2);
        let depth = match *shape {
            "m16n8k8" if a == b && !integer(a) && !small(a) => 8,
            "m16n8k16" if (a == b && !integer(a) && !small(a)) || (integer(a) && integer(b)) => 16,
            "m16n8k32" if (integer(a) && integer(b)) || (small(a) && small(b)) => 32,
            _ => return self.unknown(),
        };
        let narrow_sums = match (*d, *c, integer(a)) {
            ("s32", "s32", true) | ("f32", "f32", false) => false,
            ("f16", "f16", false) if a == Element::Half => true,
            _ => return self.unknown(),
        };
        let [Operand::Vector(to), Operand::Vector(left), Operand::Vector(right), Operand::Vector(sums)] =
            operands
        else {
            return self.unknown();
        };
        let bytes = if integer(a) || small(a) { 1 } else { 2 };
        // Rows of A: 16 × depth elements in 32 lanes of 4 bytes.
        let rows = usize::from(depth) * 16 * bytes / 128;
        let of_sums = if narrow_sums { 2 } else { 4 };
        if [to.len(), left.len(), right.len(), sums.len()] != [of_sums, rows, rows / 2, of_sums] {
            return self.refuse(format!("{}: wrong number of registers", self.name));
        }
        let mut op = self.op(Code::Mma(Mma { depth, a, b, narrow_sums }));
        for operand in to {
            op.list.push(self.destination(operand, Class::Word)?);
        }
        op.defs = to.len();
        for operand in left.iter().chain(right).chain(sums) {
            let row = self.source(operand, Class::Word)?;
            op.list.push(row);
        }
        self.push(op);
        Ok(())
    }

    fn load_matrix(&mut self, parts: &[&str], operands: &[Operand]) -> Result<(), Refusal> {
        let (count, rest) = match parts {
            ["x1", rest @ ..] => (1, rest),
            ["x2", rest @ ..] => (2, rest),
            ["x4", rest @ ..] => (4, rest),
            _ => return self.unknown(),
        };
        let transposed = match rest {
            ["shared" | "shared::cta", "b16"] => false,
            ["trans", "shared" | "shared::cta", "b16"] => true,
            _ => return self.unknown(),
        };
        let [to, address] = operands else { return self.unknown() };
        let to = match to {
            Operand::Vector(all) => all.clone(),
            one => vec![one.clone()],
        };
        if to.len() != usize::from(count) {
            return self.unknown();
        }
        let (row, offset, wide) = self.place(address)?;
        let mut op = self.op(Code::LoadMatrix { count, transposed });
        (op.a, op.imm) = (row, offset);
        if wide {
            let narrow = self.value(Class::Word, false);
            self.alu(Alu::Trunc64To32, narrow, &[row]);
            op.a = narrow;
        }
        for operand in &to {
            op.list.push(self.destination(operand, Class::Word)?);
        }
        op.defs = to.len();
        self.push(op);
        Ok(())
    }
}
