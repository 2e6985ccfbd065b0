//! PTX text to a tree: modules, functions, statements, operands. Names are resolved, nothing is interpreted.
//!
//! Reads what NVRTC writes and what inline assembly adds to it. A construct outside of that is refused with
//! its line. The grammar is that of NVIDIA's "Parallel Thread Execution ISA".

mod body;
mod module;
mod token;

use std::collections::HashMap;
use std::fmt;

use token::{Token, tokens};

/// Why a text was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Line of the PTX text, from 1.
    pub line: u32,
    /// What is wrong or not supported.
    pub what: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// A module.
#[derive(Debug, Default)]
pub struct Module {
    /// `sm_90a`.
    pub target: String,
    /// `.global` and `.const` variables.
    pub globals: Vec<Global>,
    /// Shared variables at module level; those without a size are the dynamic shared memory.
    pub shared: Vec<Variable>,
    /// Functions that have a body.
    pub functions: Vec<Function>,
    /// Functions that are declared and have none, such as `vprintf`.
    pub declared: Vec<String>,
}

/// A variable in device memory.
#[derive(Debug, Clone)]
pub struct Global {
    pub name: String,
    pub align: u32,
    pub size: u64,
    /// Its first bytes; the rest are zero.
    pub bytes: Vec<u8>,
    pub constant: bool,
}

/// A variable of a function, or a shared one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub space: VariableSpace,
    pub align: u32,
    /// In bytes; `None` for `.extern .shared x[]`.
    pub size: Option<u32>,
}

/// Where a function's variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariableSpace {
    Shared,
    Local,
    Param,
}

/// Kind of register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    Pred,
    /// 8 and 16 bits.
    Half,
    Word,
    Long,
}

/// A kernel or a device function.
#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub line: u32,
    pub entry: bool,
    pub returns: Vec<usize>,
    pub params: Vec<usize>,
    /// `.maxntid` or `.reqntid`.
    pub max_threads: Option<[u32; 3]>,
    /// Whether the block must be exactly that.
    pub exact_threads: bool,
    pub min_blocks: u32,
    pub max_registers: Option<u32>,
    pub registers: Vec<Class>,
    pub variables: Vec<Variable>,
    pub labels: HashMap<String, usize>,
    /// `.branchtargets` by label.
    pub tables: HashMap<String, Vec<String>>,
    pub instructions: Vec<Instruction>,
}

/// One instruction.
#[derive(Debug, Clone)]
pub struct Instruction {
    pub line: u32,
    /// Register of the guard, and whether it is negated.
    pub guard: Option<(usize, bool)>,
    /// `ld.global.v4.u32` at its dots.
    pub parts: Vec<String>,
    pub operands: Vec<Operand>,
}

/// An operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    Register(usize),
    /// The bits of an integer, sign-extended to 64.
    Integer(u64),
    /// The bits of an `f32`.
    Single(u32),
    /// The bits of an `f64`.
    Double(u64),
    /// `%tid.x`.
    Special(String),
    /// A variable of this function.
    Variable(usize),
    /// A name of the module.
    Name(String),
    /// `{a, b}` or `(a, b)`.
    Vector(Vec<Operand>),
    /// `[base+offset]`.
    Address(Box<Operand>, i64),
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// `!p`.
    Not(usize),
    /// `_`.
    Sink,
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    module: Module,
}

/// Parses a module.
///
/// # Errors
/// The first construct that is wrong or not supported.
pub fn parse(text: &str) -> Result<Module, Refusal> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, module: Module::default() };
    while parser.at < parser.tokens.len() {
        parser.directive()?;
    }
    if parser.module.target.is_empty() {
        return Err(Refusal { line: 1, what: "no .target: this is no PTX".to_owned() });
    }
    Ok(parser.module)
}

/// Names that a scope gives to registers and variables.
#[derive(Default)]
struct Scope {
    registers: HashMap<String, usize>,
    variables: HashMap<String, usize>,
}
