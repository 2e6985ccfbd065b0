//! Rows for values: those that are never alive together share one, so that a warp's registers fit a cache.
//!
//! NVRTC's PTX gives every value a register of its own. What is alive at once also says how many registers the
//! machine code of a real card needs at the least.

use super::decode::{Kernel, Span, Value};
use super::op::{Code, NONE, Op};
use super::parse::Class;

/// Registers that machine code holds besides values: addresses of the stack, loop counters, what `ptxas` keeps.
const OVERHEAD: u32 = 8;
/// Most registers of a thread on every architecture.
const MOST: u32 = 255;

/// A set of values.
#[derive(Clone, PartialEq, Eq)]
struct Set(Vec<u64>);

impl Set {
    fn new(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    fn add(&mut self, at: u32) {
        self.0[at as usize / 64] |= 1 << (at % 64);
    }

    fn remove(&mut self, at: u32) {
        self.0[at as usize / 64] &= !(1 << (at % 64));
    }

    fn has(&self, at: u32) -> bool {
        self.0[at as usize / 64] >> (at % 64) & 1 == 1
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(word, bits)| {
            (0..64u32).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word as u32 * 64 + bit)
        })
    }
}

/// Operations that run one after the other.
struct Block {
    first: usize,
    last: usize,
    next: Vec<usize>,
    live_in: Set,
    live_out: Set,
}

/// Gives every value a row, and notes the registers needed.
pub(super) fn allocate(kernel: &mut Kernel, values: &[Value], spans: &[Span]) {
    let mut rows = vec![NONE; values.len()];
    let mut top = 0;
    let width = |value: u32| if values[value as usize].class == Class::Long { 2 } else { 1 };
    for (at, value) in values.iter().enumerate() {
        if value.fixed {
            rows[at] = top;
            top += width(at as u32);
        }
    }
    let mut alive = 0;
    for span in spans {
        let blocks = live(kernel, values, *span);
        let (intervals, most) = intervals(kernel, values, &blocks);
        // Frames of callers stand while a callee runs.
        alive += most;
        assign(intervals, &mut rows, &mut top, &width);
    }
    for op in &mut kernel.ops {
        op.rename(|value| rows[value as usize], |predicate| predicate);
    }
    for (row, ..) in &mut kernel.constants {
        *row = rows[*row as usize];
    }
    for (row, _) in &mut kernel.specials {
        *row = rows[*row as usize];
    }
    kernel.rows = top;
    kernel.registers = (alive + OVERHEAD).next_multiple_of(8).min(MOST);
}

/// Where control may go after an operation, and whether also to the next one.
fn targets(kernel: &Kernel, op: &Op) -> (Vec<usize>, bool) {
    let guarded = op.guard != NONE;
    match op.code {
        Code::Branch => (vec![usize::try_from(op.imm).unwrap_or_default()], guarded),
        Code::BranchTable => {
            let table = &kernel.tables[usize::try_from(op.imm).unwrap_or_default()];
            (table.iter().map(|target| *target as usize).collect(), guarded)
        }
        Code::Return | Code::Exit | Code::Trap => (Vec::new(), guarded),
        _ => (Vec::new(), true),
    }
}

fn live(kernel: &Kernel, values: &[Value], span: Span) -> Vec<Block> {
    let mut leaders = vec![false; span.last - span.first + 1];
    leaders[0] = true;
    for at in span.first..span.last {
        let (all, falls) = targets(kernel, &kernel.ops[at]);
        for target in &all {
            leaders[target - span.first] = true;
        }
        if !all.is_empty() || !falls {
            leaders[at + 1 - span.first] = true;
        }
    }
    let starts: Vec<usize> = (span.first..span.last).filter(|at| leaders[at - span.first]).collect();
    let block_at = |op: usize| starts.partition_point(|start| *start <= op) - 1;
    let mut blocks: Vec<Block> = (0..starts.len())
        .map(|n| {
            let last = starts.get(n + 1).copied().unwrap_or(span.last);
            let (all, falls) = targets(kernel, &kernel.ops[last - 1]);
            let mut next: Vec<usize> = all.iter().map(|target| block_at(*target)).collect();
            if falls && last < span.last {
                next.push(n + 1);
            }
            Block {
                first: starts[n],
                last,
                next,
                live_in: Set::new(values.len()),
                live_out: Set::new(values.len()),
            }
        })
        .collect();
    let mut changed = true;
    while changed {
        changed = false;
        for n in (0..blocks.len()).rev() {
            let mut out = Set::new(values.len());
            for next in &blocks[n].next {
                for (word, other) in out.0.iter_mut().zip(&blocks[*next].live_in.0) {
                    *word |= other;
                }
            }
            let mut into = out.clone();
            for at in (blocks[n].first..blocks[n].last).rev() {
                step_back(&kernel.ops[at], &mut into);
            }
            changed |= into != blocks[n].live_in;
            blocks[n].live_in = into;
            blocks[n].live_out = out;
        }
    }
    blocks
}

/// From what is alive after an operation to what is alive before it.
fn step_back(op: &Op, alive: &mut Set) {
    // Where a guard may hold, the old value may stay.
    if op.guard == NONE {
        for value in op.definitions() {
            alive.remove(value);
        }
    }
    for value in op.uses() {
        alive.add(value);
    }
}

/// First and last place of each value, and the most registers of 32 bits alive at once.
fn intervals(kernel: &Kernel, values: &[Value], blocks: &[Block]) -> (Vec<(usize, usize, u32)>, u32) {
    let mut reach: Vec<Option<(usize, usize)>> = vec![None; values.len()];
    let mut extend = |value: u32, at: usize| {
        let known = &mut reach[value as usize];
        *known = Some(known.map_or((at, at), |(from, to)| (from.min(at), to.max(at))));
    };
    let weight = |value: u32| match values[value as usize] {
        Value { fixed: true, .. } => 0,
        Value { class: Class::Long, .. } => 2,
        _ => 1,
    };
    let mut most = 0u32;
    for block in blocks {
        for value in block.live_in.iter() {
            extend(value, block.first);
        }
        for value in block.live_out.iter() {
            extend(value, block.last);
        }
        let mut alive = block.live_out.clone();
        let mut count: u32 = alive.iter().map(weight).sum();
        for at in (block.first..block.last).rev() {
            let op = &kernel.ops[at];
            for value in op.definitions() {
                extend(value, at);
                if op.guard == NONE && alive.has(value) {
                    alive.remove(value);
                    count -= weight(value);
                }
            }
            for value in op.uses() {
                extend(value, at);
                if !alive.has(value) {
                    alive.add(value);
                    count += weight(value);
                }
            }
            most = most.max(count);
        }
    }
    let found =
        reach.iter().enumerate().filter(|(value, _)| !values[*value].fixed).filter_map(|(value, reach)| {
            let (from, to) = (*reach)?;
            Some((from, to, value as u32))
        });
    (found.collect(), most)
}

/// A linear scan over the intervals.
fn assign(
    mut intervals: Vec<(usize, usize, u32)>,
    rows: &mut [u32],
    top: &mut u32,
    width: &impl Fn(u32) -> u32,
) {
    intervals.sort_unstable();
    let mut active: Vec<(usize, u32, u32)> = Vec::new();
    let mut free: [Vec<u32>; 2] = [Vec::new(), Vec::new()];
    for (from, to, value) in intervals {
        active.retain(|(end, row, width)| {
            // A row read by an operation may be written by the same one only when the lanes are read first,
            // which not every operation does.
            let stays = *end >= from;
            if !stays {
                free[*width as usize - 1].push(*row);
            }
            stays
        });
        let width = width(value);
        let row = free[width as usize - 1].pop().unwrap_or_else(|| {
            *top += width;
            *top - width
        });
        rows[value as usize] = row;
        active.push((to, row, width));
    }
}
