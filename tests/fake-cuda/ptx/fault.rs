//! What a kernel did wrong: kind, place, and a sentence.

use std::fmt;

/// Kind of fault, as far as the driver's codes tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An access outside of every allocation, or of the block's shared memory.
    Address,
    /// An access at a place that is no multiple of its size.
    Misaligned,
    /// `trap`.
    Trap,
    /// Shared memory touched by two threads with nothing between them.
    Race,
    /// Data of `cp.async` used before it was waited for.
    Asynchronous,
    /// A value that was never written decides something.
    Undefined,
    /// Lanes that must run an instruction together do not.
    Divergence,
    /// Threads wait for what cannot come.
    Deadlock,
    /// An instruction with operands that it does not take.
    Operand,
}

/// A fault of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub what: String,
    /// Line of the PTX text, and the instruction there.
    pub line: u32,
    pub instruction: String,
    pub kernel: String,
    pub block: [u32; 3],
    /// Thread within the block, where one is to blame.
    pub thread: Option<u32>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, line, instruction, kernel, block: [x, y, z], thread, .. } = self;
        write!(f, "kernel {kernel}, block ({x}, {y}, {z}), ")?;
        if let Some(thread) = thread {
            write!(f, "thread {thread}, ")?;
        }
        write!(f, "PTX line {line}, {instruction}: {what}")
    }
}

/// A fault before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    pub kind: Kind,
    pub what: String,
    /// Lane of the warp.
    pub lane: Option<u32>,
}

impl Blame {
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), lane: None }
    }

    pub fn lane(kind: Kind, lane: u32, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), lane: Some(lane) }
    }
}
