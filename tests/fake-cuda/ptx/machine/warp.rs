//! A warp: its registers, its groups of lanes that stand at one place, and the loop that runs them.
//!
//! Lanes that branch apart become groups. Usually the group furthest back runs, so that groups meet again where
//! the code joins; now and then, by the seed, another. An instruction that names lanes waits until they have
//! all come; when no group can go on, the lanes will never meet, which is a fault.
#![allow(unsafe_code, reason = "rows of registers, and the machine compiled for two instruction sets")]

use super::super::asynchronous::Copies;
use super::super::checks::Actor;
use super::super::compare;
use super::super::fault::{Blame, Kind};
use super::super::number::{logic, permute};
use super::super::op::{Code, Logic, NONE, Op};
use super::super::{alu, tensor};
use super::block::Block;
use super::lanes::{FULL, Rows};
use super::{collective, memory};

/// Lanes at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub pc: u32,
    pub lanes: u32,
    /// Where the functions that they are in return to.
    calls: Vec<u32>,
    /// Waits for lanes that are not here yet.
    waits: bool,
}

/// What a warp waits for at a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub barrier: u32,
    pub op: u32,
    pub exec: u32,
}

/// A warp.
pub struct Warp {
    pub index: u32,
    pub rows: Rows,
    groups: Vec<Group>,
    /// Lanes that have not ended.
    pub live: u32,
    /// The operation that runs, for counts and faults.
    pub at: u32,
    pub waiting: Option<Waiting>,
    /// Ticks of its own clock and how many of the others' are ordered before now.
    pub clock: u32,
    pub seen: [u32; 32],
    /// Local memory, lane after lane, and which bytes were written.
    pub local: Vec<u8>,
    pub local_written: Vec<bool>,
    pub copies: Copies,
}

/// Why a group stopped.
enum Stop {
    /// Other groups come first, or its turn is over.
    Pause,
    /// It needs lanes that are elsewhere.
    Waits,
    /// The whole warp waits at a barrier.
    Barrier,
    /// Its lanes went apart, or some ended.
    Split,
}

impl Warp {
    pub fn new(index: u32, rows: u32, predicates: u32, local: u32) -> Self {
        Self {
            index,
            rows: Rows::new(rows, predicates),
            groups: Vec::new(),
            live: 0,
            at: 0,
            waiting: None,
            clock: 0,
            seen: [0; 32],
            local: vec![0xff; local as usize * 32],
            local_written: vec![false; local as usize * 32],
            copies: Copies::default(),
        }
    }

    /// As new, with these lanes at the kernel's start.
    pub fn begin(&mut self, start: u32, lanes: u32) {
        self.rows.reset();
        self.groups = vec![Group { pc: start, lanes, calls: Vec::new(), waits: false }];
        self.live = lanes;
        self.waiting = None;
        self.clock = 0;
        self.seen = [0; 32];
        self.local.fill(0xff);
        self.local_written.fill(false);
        self.copies.reset();
    }

    /// Who accesses memory when a lane does.
    pub fn actor(&self, lane: u32) -> Actor<'_> {
        Actor { thread: self.index * 32 + lane, clock: self.clock, seen: &self.seen }
    }

    /// Goes on after a barrier.
    pub fn release(&mut self) {
        self.waiting = None;
        for group in &mut self.groups {
            group.pc += 1;
        }
    }

    /// Places where its groups wait, for a message.
    pub fn places(&self, block: &Block<'_>) -> String {
        let one = |group: &Group| {
            let op = &block.kernel.ops[group.pc as usize];
            format!(
                "lanes {:#010x} at PTX line {} ({})",
                group.lanes, op.line, block.kernel.names[group.pc as usize]
            )
        };
        self.groups.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// Runs until its turn is over or it can't go on.
    ///
    /// # Errors
    /// A fault, at the operation `self.at`.
    pub fn run(&mut self, block: &mut Block<'_>, mut turn: u32) -> Result<(), Blame> {
        while self.live != 0 && self.waiting.is_none() && turn > 0 {
            let Some(chosen) = self.choose(block) else {
                self.at = self.groups[0].pc;
                let what = format!("lanes that must run it together never meet: {}", self.places(block));
                return Err(Blame::new(Kind::Divergence, what));
            };
            let mut group = self.groups.swap_remove(chosen);
            // The next group that this one may meet.
            let limit =
                self.groups.iter().map(|other| other.pc).filter(|pc| *pc > group.pc).min().unwrap_or(NONE);
            let stop = self.run_group(block, &mut group, limit, &mut turn)?;
            match stop {
                Stop::Waits => group.waits = true,
                Stop::Split => {
                    for other in &mut self.groups {
                        other.waits = false;
                    }
                }
                Stop::Pause | Stop::Barrier => {}
            }
            self.join(group);
        }
        Ok(())
    }

    /// The group to run: the deepest and furthest back, or by chance another.
    fn choose(&self, block: &mut Block<'_>) -> Option<usize> {
        let ready = || self.groups.iter().enumerate().filter(|(_, group)| !group.waits);
        let count = ready().count();
        if count > 1 && block.chance(4) {
            let pick = block.random(count as u32) as usize;
            return ready().nth(pick).map(|(at, _)| at);
        }
        ready().min_by_key(|(_, group)| (std::cmp::Reverse(group.calls.len()), group.pc)).map(|(at, _)| at)
    }

    /// Puts a group back, with those that stand at the same place.
    fn join(&mut self, mut group: Group) {
        if group.lanes == 0 {
            return;
        }
        self.groups.retain(|other| {
            let same = other.pc == group.pc && other.calls == group.calls;
            if same {
                group.lanes |= other.lanes;
                group.waits = false;
            }
            !same
        });
        self.groups.push(group);
    }

    fn run_group(
        &mut self,
        block: &mut Block<'_>,
        group: &mut Group,
        limit: u32,
        turn: &mut u32,
    ) -> Result<Stop, Blame> {
        #[cfg(target_arch = "x86_64")]
        if block.fast {
            // SAFETY: `fast` says that the machine has these instruction sets.
            return unsafe { self.run_fast(block, group, limit, turn) };
        }
        self.run_any(block, group, limit, turn)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run_fast(
        &mut self,
        block: &mut Block<'_>,
        group: &mut Group,
        limit: u32,
        turn: &mut u32,
    ) -> Result<Stop, Blame> {
        self.run_any(block, group, limit, turn)
    }

    #[inline(always)]
    fn run_any(
        &mut self,
        block: &mut Block<'_>,
        group: &mut Group,
        limit: u32,
        turn: &mut u32,
    ) -> Result<Stop, Blame> {
        let kernel = block.kernel;
        let lanes = group.lanes;
        let mut pc = group.pc;
        loop {
            let op = &kernel.ops[pc as usize];
            self.at = pc;
            let exec = if op.guard == NONE {
                lanes
            } else {
                let (holds, defined) = self.rows.predicate(op.guard, op.negated);
                if lanes & !defined != 0 {
                    return Err(undefined(lanes & !defined, "a predicate that was never set decides"));
                }
                lanes & holds
            };
            let mut next = pc + 1;
            match op.code {
                // SAFETY: the decoder gives operations rows of their width, and the allocator rows that exist.
                Code::Alu(alu) => unsafe { alu::run(alu, &mut self.rows, op, exec) },
                Code::Test(test, join) => {
                    // SAFETY: as above.
                    let found = unsafe { compare::run(test, &self.rows, op) };
                    self.tested(op, join, exec, found);
                }
                Code::Select32 => {
                    let (holds, known) = self.rows.predicate(op.s, op.s_negated);
                    let (a, b) = (*self.rows.words(op.a), *self.rows.words(op.b));
                    self.chosen(op, exec, holds, known);
                    let to = self.rows.words_mut(op.d);
                    for lane in 0..32 {
                        let value = if holds >> lane & 1 == 1 { a[lane] } else { b[lane] };
                        to[lane] = if exec >> lane & 1 == 1 { value } else { to[lane] };
                    }
                }
                Code::Select64 => {
                    let (holds, known) = self.rows.predicate(op.s, op.s_negated);
                    let (a, b) = (*self.rows.longs(op.a), *self.rows.longs(op.b));
                    self.chosen(op, exec, holds, known);
                    let to = self.rows.longs(op.d);
                    for lane in 0..32 {
                        let value = if holds >> lane & 1 == 1 { a[lane] } else { b[lane] };
                        to[lane] = if exec >> lane & 1 == 1 { value } else { to[lane] };
                    }
                }
                Code::Lop3 => {
                    let table = op.imm as u32;
                    // SAFETY: as above.
                    unsafe {
                        match table {
                            // Mask, then add bits: what unpacking of weights is made of.
                            0xea => self.rows.map(op, exec, |(x, y, z): (u32, u32, u32)| x & y | z),
                            _ => self.rows.map(op, exec, |(x, y, z): (u32, u32, u32)| logic(x, y, z, table)),
                        }
                    }
                }
                Code::Permute => {
                    let selector = op.imm as u32;
                    // SAFETY: as above.
                    unsafe { self.rows.map(op, exec, |(x, y): (u32, u32)| permute(x, y, selector)) }
                }
                Code::Predicate(what) => self.predicate(op, what, exec),
                Code::Pack { width, parts } => self.pack(op, u32::from(width), u32::from(parts), exec),
                Code::Unpack { width, .. } => self.unpack(op, u32::from(width), exec),
                Code::Load(access) => memory::load(block, self, op, access, exec)?,
                Code::Store(access) => memory::store(block, self, op, access, exec)?,
                Code::Atomic { what, space, long, .. } => {
                    memory::atomic(block, self, op, (what, space, long), exec)?
                }
                Code::AsyncCopy => memory::copy(block, self, op, exec)?,
                Code::AsyncCommit => self.copies.commit(exec),
                Code::AsyncWait { all } => {
                    memory::arrive(block, self, exec, if all { None } else { Some(op.imm as u32) })?;
                }
                Code::Branch => {
                    if exec == lanes {
                        next = op.imm as u32;
                    } else if exec != 0 {
                        return Ok(self.split(block, group, exec, op.imm as u32));
                    }
                }
                Code::BranchTable => {
                    if exec != 0 {
                        return self.branch_table(block, group, op, exec);
                    }
                }
                Code::Call => {
                    if exec == lanes {
                        group.calls.push(next);
                        next = op.imm as u32;
                    } else if exec != 0 {
                        let mut called = Group { pc: op.imm as u32, lanes: exec, ..group.clone() };
                        called.calls.push(next);
                        self.groups.push(called);
                        (group.pc, group.lanes) = (next, lanes & !exec);
                        block.count(pc, exec);
                        return Ok(Stop::Split);
                    }
                }
                Code::Return => {
                    if exec == lanes {
                        next = group.calls.pop().unwrap_or_default();
                    } else if exec != 0 {
                        let mut back = Group { lanes: exec, ..group.clone() };
                        back.pc = back.calls.pop().unwrap_or_default();
                        self.join(back);
                        (group.pc, group.lanes) = (next, lanes & !exec);
                        block.count(pc, exec);
                        return Ok(Stop::Split);
                    }
                }
                Code::Exit => {
                    self.live &= !exec;
                    if exec != 0 {
                        (group.pc, group.lanes) = (next, lanes & !exec);
                        block.count(pc, exec);
                        return Ok(Stop::Split);
                    }
                }
                Code::Trap => {
                    if exec != 0 {
                        return Err(Blame::lane(Kind::Trap, exec.trailing_zeros(), "the kernel gives up"));
                    }
                }
                Code::Nothing => {}
                Code::Active => {
                    for lane in memory::lanes(exec) {
                        self.rows.words_mut(op.d)[lane as usize] = lanes;
                    }
                    self.rows.mark(op.d, exec, exec);
                }
                Code::Shuffle(_)
                | Code::Vote(_)
                | Code::Match { .. }
                | Code::Reduce(_)
                | Code::Elect
                | Code::WarpSync
                | Code::Barrier(_)
                | Code::Mma(_)
                | Code::LoadMatrix { .. }
                | Code::MoveMatrix => {
                    if exec != 0 {
                        let needed = collective::needed(self, op, exec)?;
                        if needed & !exec != 0 {
                            group.pc = pc;
                            if needed & !lanes == 0 {
                                return Err(undefined_by(needed & !exec));
                            }
                            return Ok(Stop::Waits);
                        }
                        match op.code {
                            Code::Barrier(what) => {
                                group.pc = pc;
                                block.count(pc, exec);
                                collective::arrive(block, self, op, what, exec)?;
                                if self.waiting.is_none() {
                                    // It only arrived. Its turn ends, so that a full barrier opens now.
                                    group.pc = next;
                                    *turn = 0;
                                }
                                return Ok(Stop::Barrier);
                            }
                            Code::Mma(mma) => tensor::multiply(&mut self.rows, op, mma, block.fast),
                            Code::LoadMatrix { count, transposed } => {
                                tensor::load(block, self, op, count, transposed)?;
                            }
                            Code::MoveMatrix => tensor::transpose(&mut self.rows, op),
                            _ => collective::run(self, op, exec)?,
                        }
                    }
                }
            }
            block.count(pc, exec);
            pc = next;
            *turn -= 1;
            if *turn == 0 || pc >= limit {
                group.pc = pc;
                return Ok(Stop::Pause);
            }
        }
    }

    /// Some lanes branch, the others go on.
    fn split(&mut self, block: &mut Block<'_>, group: &mut Group, exec: u32, target: u32) -> Stop {
        block.count(self.at, exec);
        let apart = Group { pc: target, lanes: exec, calls: group.calls.clone(), waits: false };
        (group.pc, group.lanes) = (self.at + 1, group.lanes & !exec);
        self.join(apart);
        Stop::Split
    }

    fn branch_table(
        &mut self,
        block: &mut Block<'_>,
        group: &mut Group,
        op: &Op,
        exec: u32,
    ) -> Result<Stop, Blame> {
        let undefined_lanes = exec & !self.rows.defined[op.a as usize];
        if undefined_lanes != 0 {
            return Err(undefined(undefined_lanes, "a branch by what was never written"));
        }
        block.count(self.at, exec);
        let table = &block.kernel.tables[op.imm as usize];
        let index = *self.rows.words(op.a);
        for lane in memory::lanes(exec) {
            let Some(target) = table.get(index[lane as usize] as usize) else {
                let what = format!("brx.idx {} of {} targets", index[lane as usize], table.len());
                return Err(Blame::lane(Kind::Operand, lane, what));
            };
            self.join(Group { pc: *target, lanes: 1 << lane, calls: group.calls.clone(), waits: false });
        }
        (group.pc, group.lanes) = (self.at + 1, group.lanes & !exec);
        Ok(Stop::Split)
    }

    fn tested(&mut self, op: &Op, join: Option<Logic>, exec: u32, found: u32) {
        let mut defined = self.rows.sources_defined(op);
        let (mut p, mut q) = (found, !found);
        if let Some(join) = join {
            let (other, known) = self.rows.predicate(op.s, op.s_negated);
            defined &= known;
            let joined = |value: u32| match join {
                Logic::And => value & other,
                Logic::Or => value | other,
                _ => value ^ other,
            };
            (p, q) = (joined(p), joined(q));
        }
        self.rows.set_predicate(op.p, exec, p, defined);
        self.rows.set_predicate(op.q, exec, q, defined);
    }

    /// Marks what a selection gives: what is chosen must be defined, not what is left.
    fn chosen(&mut self, op: &Op, exec: u32, holds: u32, known: u32) {
        let (a, b) = (self.rows.defined[op.a as usize], self.rows.defined[op.b as usize]);
        self.rows.mark(op.d, exec, known & (holds & a | !holds & b));
    }

    fn predicate(&mut self, op: &Op, what: Logic, exec: u32) {
        let (a, known) = self.rows.predicate(op.s, op.s_negated);
        let (b, other_known) = match what {
            Logic::Move | Logic::Not => (0, FULL),
            _ => self.rows.predicate(op.q, op.imm != 0),
        };
        let value = match what {
            Logic::And => a & b,
            Logic::Or => a | b,
            Logic::Xor => a ^ b,
            Logic::Move => a,
            Logic::Not => !a,
        };
        self.rows.set_predicate(op.p, exec, value, known & other_known);
    }

    fn pack(&mut self, op: &Op, width: u32, parts: u32, exec: u32) {
        let mut values = [0u64; 32];
        let mut defined = FULL;
        let mask = if width == 32 { 0xffff_ffff } else { (1 << width) - 1 };
        for (at, part) in op.list.iter().enumerate() {
            defined &= self.rows.defined[*part as usize];
            for (value, bits) in values.iter_mut().zip(self.rows.words(*part)) {
                *value |= (u64::from(*bits) & mask) << (at as u32 * width);
            }
        }
        self.rows.mark(op.d, exec, defined);
        if width * parts == 64 {
            let to = self.rows.longs(op.d);
            for lane in memory::lanes(exec) {
                to[lane as usize] = values[lane as usize];
            }
        } else {
            let to = self.rows.words_mut(op.d);
            for lane in memory::lanes(exec) {
                to[lane as usize] = values[lane as usize] as u32;
            }
        }
    }

    fn unpack(&mut self, op: &Op, width: u32, exec: u32) {
        let mut values = [0u64; 32];
        if width * op.list.len() as u32 == 64 {
            values = *self.rows.longs(op.a);
        } else {
            for (value, bits) in values.iter_mut().zip(self.rows.words(op.a)) {
                *value = u64::from(*bits);
            }
        }
        let mask = if width == 32 { 0xffff_ffff } else { (1u64 << width) - 1 };
        let defined = self.rows.defined[op.a as usize];
        for (at, part) in op.list.iter().enumerate() {
            self.rows.mark(*part, exec, defined);
            let to = self.rows.words_mut(*part);
            for lane in memory::lanes(exec) {
                to[lane as usize] = (values[lane as usize] >> (at as u32 * width) & mask) as u32;
            }
        }
    }
}

fn undefined(lanes: u32, what: &str) -> Blame {
    Blame::lane(Kind::Undefined, lanes.trailing_zeros(), what)
}

fn undefined_by(lanes: u32) -> Blame {
    let what = format!("its mask names lanes {lanes:#010x}, whose guard switches them off");
    Blame::new(Kind::Divergence, what)
}
