//! From the tree of a kernel and the functions that it calls to one list of operations.
//!
//! What is not listed here is refused by its name and line when the kernel is decoded, never guessed at.

mod arithmetic;
mod control;
mod convert;
mod memory;
mod operand;
mod warp;

use std::collections::HashMap;

use super::op::{Code, NONE, Op};
use super::parse::{Class, Function, Module, Operand, Refusal, Variable, VariableSpace};

/// Where shared and local memory stand among generic addresses.
pub const SHARED_WINDOW: u64 = 0x7f00_0000_0000;
pub const LOCAL_WINDOW: u64 = 0x7e00_0000_0000;
/// Bytes of a window.
pub const WINDOW: u64 = 1 << 32;

/// A row that a warp finds filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    Lane,
    Warp,
    Warps,
    Multiprocessor,
    Multiprocessors,
    /// Lanes equal, below, up to, above, from.
    MaskEq,
    MaskLt,
    MaskLe,
    MaskGt,
    MaskGe,
    DynamicShared,
    TotalShared,
}

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub offset: u32,
    pub size: u32,
}

/// A kernel, ready to run.
#[derive(Debug)]
pub struct Kernel {
    pub name: String,
    pub ops: Vec<Op>,
    /// Opcode with its modifiers, by operation.
    pub names: Vec<String>,
    pub parameters: Vec<Parameter>,
    pub parameter_bytes: u32,
    pub static_shared: u32,
    pub local_bytes: u32,
    /// Rows of a warp, and how many of its predicates.
    pub rows: u32,
    pub predicates: u32,
    pub constants: Vec<(u32, u64, bool)>,
    pub specials: Vec<(u32, Special)>,
    pub tables: Vec<Vec<u32>>,
    pub max_threads: Option<[u32; 3]>,
    pub exact_threads: bool,
    /// 32-bit registers of a thread that the machine code will need at least, from what is alive at once.
    pub registers: u32,
}

/// Kind of an id before rows are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Value {
    pub class: Class,
    /// Constants and special registers keep their row to the end.
    pub fixed: bool,
}

/// The ops of one function in the whole list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub first: usize,
    pub last: usize,
}

pub(super) struct Decoder<'a> {
    module: &'a Module,
    address: &'a dyn Fn(&str) -> Option<u64>,
    pub ops: Vec<Op>,
    names: Vec<String>,
    pub values: Vec<Value>,
    pub predicates: u32,
    constants: HashMap<(u64, bool), u32>,
    specials: HashMap<Special, u32>,
    shared: HashMap<String, u32>,
    shared_bytes: u32,
    dynamic_names: Vec<(u32, bool)>,
    dynamic_align: u32,
    local_bytes: u32,
    tables: Vec<Vec<u32>>,
    functions: Vec<Frame>,
    // Of the function that is being decoded:
    function: &'a Function,
    registers: Vec<u32>,
    variables: Vec<u32>,
    line: u32,
    name: String,
    guard: (u32, bool),
}

/// Where a function that was decoded stands, and where its parameters and results lie in local memory.
struct Frame {
    name: String,
    start: u32,
    params: Vec<(u32, u32)>,
    returns: Vec<(u32, u32)>,
}

/// Decodes the kernel `name`. `address` gives the place of a global variable.
///
/// # Errors
/// What is not supported.
pub fn decode(module: &Module, name: &str, address: &dyn Fn(&str) -> Option<u64>) -> Result<Kernel, Refusal> {
    let entry = module.functions.iter().find(|function| function.entry && function.name == name);
    let Some(entry) = entry else { return Err(Refusal { line: 1, what: format!("no kernel {name}") }) };
    let mut decoder = Decoder {
        module,
        address,
        ops: Vec::new(),
        names: Vec::new(),
        values: Vec::new(),
        predicates: 0,
        constants: HashMap::new(),
        specials: HashMap::new(),
        shared: HashMap::new(),
        shared_bytes: 0,
        dynamic_names: Vec::new(),
        dynamic_align: 16,
        local_bytes: 0,
        tables: Vec::new(),
        functions: Vec::new(),
        function: entry,
        registers: Vec::new(),
        variables: Vec::new(),
        line: entry.line,
        name: String::new(),
        guard: (NONE, false),
    };
    let zero = decoder.constant(0, true);
    debug_assert_eq!(zero, ZERO);
    let order = reachable(module, entry)?;
    let mut spans = Vec::new();
    let (mut parameters, mut parameter_bytes) = (Vec::new(), 0);
    // Callees first, so that a call knows where to.
    for function in &order {
        let first = decoder.ops.len();
        if function.entry {
            (parameters, parameter_bytes) = decoder.parameters(function);
        }
        decoder.body(function)?;
        spans.push(Span { first, last: decoder.ops.len() });
    }
    // The dynamic shared memory comes after all that is static, wherever its name was met first.
    let dynamic = decoder.shared_bytes.next_multiple_of(decoder.dynamic_align);
    let used = decoder.dynamic_names.clone();
    let (start, registers) = (spans.last().map_or(0, |span| span.first), 0);
    let mut kernel = Kernel {
        name: name.to_owned(),
        parameters,
        parameter_bytes,
        static_shared: if used.is_empty() { decoder.shared_bytes } else { dynamic },
        local_bytes: decoder.local_bytes.next_multiple_of(16),
        rows: 0,
        predicates: decoder.predicates,
        constants: decoder.constants.iter().map(|((value, wide), row)| (*row, *value, *wide)).collect(),
        specials: decoder.specials.iter().map(|(special, row)| (*row, *special)).collect(),
        tables: std::mem::take(&mut decoder.tables),
        max_threads: entry.max_threads,
        exact_threads: entry.exact_threads,
        registers,
        names: std::mem::take(&mut decoder.names),
        ops: std::mem::take(&mut decoder.ops),
    };
    for (row, wide) in used {
        kernel.constants.push((row, u64::from(dynamic), wide));
    }
    super::allocate::allocate(&mut kernel, &decoder.values, &spans);
    // A kernel starts at its first operation; functions that it calls stand before that.
    kernel.tables.push(vec![u32::try_from(start).unwrap_or_default()]);
    Ok(kernel)
}

/// The row of zeros.
pub(super) const ZERO: u32 = 0;

impl Kernel {
    /// Where a thread begins.
    pub fn start(&self) -> u32 {
        self.tables.last().and_then(|table| table.first()).copied().unwrap_or_default()
    }
}

/// The entry and all that it calls, callees first.
fn reachable<'a>(module: &'a Module, entry: &'a Function) -> Result<Vec<&'a Function>, Refusal> {
    fn visit<'a>(
        module: &'a Module,
        function: &'a Function,
        open: &mut Vec<&'a str>,
        done: &mut Vec<&'a Function>,
    ) -> Result<(), Refusal> {
        if done.iter().any(|known| known.name == function.name) {
            return Ok(());
        }
        if open.contains(&function.name.as_str()) {
            let what = format!("{} calls itself: recursion is not supported", function.name);
            return Err(Refusal { line: function.line, what });
        }
        open.push(&function.name);
        for call in function.instructions.iter().filter(|instruction| instruction.parts[0] == "call") {
            let callee = call.operands.iter().find_map(|operand| match operand {
                Operand::Name(name) => Some(name),
                _ => None,
            });
            let Some(callee) = callee else {
                return Err(Refusal {
                    line: call.line,
                    what: "an indirect call is not supported".to_owned(),
                });
            };
            match module.functions.iter().find(|function| function.name == *callee) {
                Some(callee) => visit(module, callee, open, done)?,
                None => {
                    let what = format!("a call to {callee} is not supported: it has no body here");
                    return Err(Refusal { line: call.line, what });
                }
            }
        }
        open.pop();
        done.push(function);
        Ok(())
    }
    let mut done = Vec::new();
    visit(module, entry, &mut Vec::new(), &mut done)?;
    Ok(done)
}

impl<'a> Decoder<'a> {
    pub(super) fn refuse<T>(&self, what: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { line: self.line, what: what.into() })
    }

    /// This opcode, with the modifiers as they were written, is not supported.
    pub(super) fn unknown<T>(&self) -> Result<T, Refusal> {
        self.refuse(format!("{} is not supported", self.name))
    }

    /// A row that holds the same value in every lane.
    pub(super) fn constant(&mut self, value: u64, wide: bool) -> u32 {
        if let Some(row) = self.constants.get(&(value, wide)) {
            return *row;
        }
        let class = if wide { Class::Long } else { Class::Word };
        let row = self.value(class, true);
        self.constants.insert((value, wide), row);
        row
    }

    /// A row of its own.
    pub(super) fn value(&mut self, class: Class, fixed: bool) -> u32 {
        self.values.push(Value { class, fixed });
        u32::try_from(self.values.len() - 1).unwrap_or(NONE)
    }

    /// Offsets of a kernel's parameters.
    fn parameters(&self, function: &Function) -> (Vec<Parameter>, u32) {
        let mut offset = 0u32;
        let place = |variable: &Variable| {
            let size = variable.size.unwrap_or_default();
            offset = offset.next_multiple_of(variable.align.max(1));
            let parameter = Parameter { offset, size };
            offset += size;
            parameter
        };
        let all = function.params.iter().map(|at| &function.variables[*at]).map(place).collect();
        (all, offset)
    }

    fn shared_place(&mut self, variable: &Variable) -> u32 {
        let size = variable.size.unwrap_or_default();
        let offset = self.shared_bytes.next_multiple_of(variable.align.max(1));
        self.shared_bytes = offset + size;
        offset
    }

    fn local_place(&mut self, variable: &Variable) -> u32 {
        let offset = self.local_bytes.next_multiple_of(variable.align.max(8));
        self.local_bytes = offset + variable.size.unwrap_or_default();
        offset
    }

    fn body(&mut self, function: &'a Function) -> Result<(), Refusal> {
        self.function = function;
        self.registers = (function.registers.iter())
            .map(|class| {
                if *class == Class::Pred {
                    self.predicates += 1;
                    self.predicates - 1
                } else {
                    self.value(*class, false)
                }
            })
            .collect();
        let mut of_entry = 0u32;
        self.variables = Vec::new();
        for (at, variable) in function.variables.iter().enumerate() {
            let kernels_own = function.entry && function.params.contains(&at);
            let place = match variable.space {
                VariableSpace::Shared => self.shared_place(variable),
                VariableSpace::Param if kernels_own => {
                    of_entry = of_entry.next_multiple_of(variable.align.max(1));
                    let place = of_entry;
                    of_entry += variable.size.unwrap_or_default();
                    place
                }
                VariableSpace::Local | VariableSpace::Param => self.local_place(variable),
            };
            self.variables.push(place);
        }
        let places = |of: &[usize]| {
            of.iter()
                .map(|at| (self.variables[*at], function.variables[*at].size.unwrap_or_default()))
                .collect()
        };
        let frame = Frame {
            name: function.name.clone(),
            start: u32::try_from(self.ops.len()).unwrap_or_default(),
            params: places(&function.params),
            returns: places(&function.returns),
        };
        let mut starts = Vec::new();
        for instruction in &function.instructions {
            starts.push(self.ops.len());
            let first = self.ops.len();
            self.instruction(instruction)?;
            for (n, op) in self.ops[first..].iter_mut().enumerate() {
                op.guard = self.guard.0;
                op.negated = self.guard.1;
                op.counted = n == 0;
            }
            let name = self.name.clone();
            self.names.resize(self.ops.len(), name);
        }
        starts.push(self.ops.len());
        // A function may end without a `ret`.
        self.guard = (NONE, false);
        let end = if function.entry { Code::Exit } else { Code::Return };
        let mut op = Op::new(end, ZERO, self.line);
        op.counted = false;
        self.ops.push(op);
        self.names.push("ret".to_owned());
        self.resolve(&frame, &starts);
        self.functions.push(frame);
        Ok(())
    }

    /// Turns the labels of a function's branches, kept as indices until now, into places.
    fn resolve(&mut self, frame: &Frame, starts: &[usize]) {
        let place =
            |at: i64| i64::try_from(starts[usize::try_from(at).unwrap_or_default()]).unwrap_or_default();
        for op in &mut self.ops[frame.start as usize..] {
            match op.code {
                Code::Branch => op.imm = place(op.imm),
                Code::BranchTable => {
                    let table = &mut self.tables[usize::try_from(op.imm).unwrap_or_default()];
                    for target in table.iter_mut() {
                        *target = u32::try_from(place(i64::from(*target))).unwrap_or_default();
                    }
                }
                _ => {}
            }
        }
    }
}
