//! The compact form that the machine runs: an opcode, rows of registers, predicates, and a list where one needs it.
//!
//! Every operand is a row of registers; constants and special registers are rows that are filled before a warp
//! starts. So the machine never asks what kind an operand is.

/// No row and no predicate.
pub const NONE: u32 = u32::MAX;

/// An instruction.
#[derive(Debug, Clone)]
pub struct Op {
    pub code: Code,
    /// Predicate that switches lanes off, or [`NONE`].
    pub guard: u32,
    pub negated: bool,
    /// Row written, or [`NONE`].
    pub d: u32,
    /// Rows read; unused ones are the row of zeros.
    pub a: u32,
    pub b: u32,
    pub c: u32,
    /// Predicates written.
    pub p: u32,
    pub q: u32,
    /// Predicate read, and whether its complement is meant.
    pub s: u32,
    pub s_negated: bool,
    /// Further rows: `defs` that are written, then those that are read.
    pub list: Vec<u32>,
    pub defs: usize,
    /// Offset of an address, target of a branch, table of a `lop3`.
    pub imm: i64,
    /// Line of the PTX text.
    pub line: u32,
    /// Whether it is the first of those that one PTX instruction became.
    pub counted: bool,
}

/// A state space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
    /// Parameters of the kernel.
    Param,
}

/// Shape of a load or store: elements of a lane, bytes of each, sign extension, rows of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    pub space: Space,
    pub count: u8,
    pub width: u8,
    pub signed: bool,
    /// Whether an element's register has 64 bits.
    pub long: bool,
    /// Whether an element's register has 16, so that an extended sign ends there.
    pub half: bool,
    /// Whether the address has 64 bits.
    pub wide: bool,
}

/// What an atomic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Atomic {
    Add,
    AddF32,
    AddF64,
    AddF16x2,
    And,
    Or,
    Xor,
    Exchange,
    Swap,
    MinU,
    MaxU,
    MinS,
    MaxS,
    Increment,
    Decrement,
}

/// How a shuffle finds its source lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shuffle {
    Index,
    Up,
    Down,
    Butterfly,
}

/// A vote of a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    All,
    Any,
    Uniform,
    Ballot,
}

/// A reduction over a warp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Add,
    MinS,
    MaxS,
    MinU,
    MaxU,
    And,
    Or,
    Xor,
}

/// What a barrier gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barrier {
    Sync,
    Arrive,
    Count,
    All,
    Any,
}

/// Element type of the operands of an `mma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    Half,
    Brain,
    E4m3,
    E5m2,
    Signed,
    Unsigned,
}

/// An `mma.sync` of 16 × 8 with this depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mma {
    pub depth: u8,
    pub a: Element,
    pub b: Element,
    /// Whether sums are f16; otherwise `f32` or `s32`.
    pub narrow_sums: bool,
}

/// Logic on predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logic {
    And,
    Or,
    Xor,
    Move,
    Not,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Lane by lane, rows to a row.
    Alu(super::alu::Alu),
    /// A comparison into a predicate, joined with another by `Logic`.
    Test(super::compare::Test, Option<Logic>),
    Select32,
    Select64,
    /// `lop3` with the table in `imm`.
    Lop3,
    /// `prmt` with a constant selector in `imm`.
    Permute,
    Predicate(Logic),
    /// The list's rows into one: their parts have `width` bits.
    Pack {
        width: u8,
        parts: u8,
    },
    Unpack {
        width: u8,
        parts: u8,
    },
    Load(Access),
    Store(Access),
    Atomic {
        what: Atomic,
        space: Space,
        long: bool,
        returns: bool,
    },
    AsyncCopy,
    AsyncCommit,
    AsyncWait {
        all: bool,
    },
    Shuffle(Shuffle),
    Vote(Vote),
    Match {
        all: bool,
        long: bool,
    },
    Reduce(Reduction),
    Active,
    Elect,
    WarpSync,
    Barrier(Barrier),
    Mma(Mma),
    /// `ldmatrix` of 1, 2 or 4 matrices.
    LoadMatrix {
        count: u8,
        transposed: bool,
    },
    MoveMatrix,
    Branch,
    /// Targets in the list of the kernel's tables.
    BranchTable,
    Call,
    Return,
    Exit,
    Trap,
    /// `fence`, `prefetch`, `nanosleep`.
    Nothing,
}

impl Op {
    /// An operation that does nothing yet. `zero` is the row of zeros.
    pub fn new(code: Code, zero: u32, line: u32) -> Self {
        Self {
            code,
            guard: NONE,
            negated: false,
            d: NONE,
            a: zero,
            b: zero,
            c: zero,
            p: NONE,
            q: NONE,
            s: NONE,
            s_negated: false,
            list: Vec::new(),
            defs: 0,
            imm: 0,
            line,
            counted: true,
        }
    }

    /// Rows read.
    pub fn uses(&self) -> impl Iterator<Item = u32> + '_ {
        [self.a, self.b, self.c].into_iter().chain(self.list[self.defs..].iter().copied())
    }

    /// Rows written.
    pub fn definitions(&self) -> impl Iterator<Item = u32> + '_ {
        [self.d].into_iter().chain(self.list[..self.defs].iter().copied()).filter(|row| *row != NONE)
    }

    /// Puts other rows and predicates in the place of those named.
    pub fn rename(&mut self, row: impl Fn(u32) -> u32, predicate: impl Fn(u32) -> u32) {
        for field in [&mut self.d, &mut self.a, &mut self.b, &mut self.c].into_iter().chain(&mut self.list) {
            if *field != NONE {
                *field = row(*field);
            }
        }
        for field in [&mut self.guard, &mut self.p, &mut self.q, &mut self.s] {
            if *field != NONE {
                *field = predicate(*field);
            }
        }
    }
}
