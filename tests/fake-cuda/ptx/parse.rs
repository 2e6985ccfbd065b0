//! PTX text to a tree: modules, functions, statements, operands. Names are resolved, nothing is interpreted.
//!
//! Reads what NVRTC writes and what inline assembly adds to it. A construct outside of that is refused with
//! its line. The grammar is that of NVIDIA's "Parallel Thread Execution ISA".

use std::collections::HashMap;
use std::fmt;

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

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Mark(char),
    Text,
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

fn tokens(text: &str) -> Result<Vec<(Token, u32)>, Refusal> {
    let bytes = text.as_bytes();
    let (mut at, mut line) = (0, 1);
    let mut found = Vec::new();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'%' | b'.');
    while at < bytes.len() {
        let byte = bytes[at];
        let rest = &bytes[at..];
        if byte == b'\n' {
            line += 1;
            at += 1;
        } else if byte.is_ascii_whitespace() || byte == 0 {
            at += 1;
        } else if rest.starts_with(b"//") {
            at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            let end = rest.windows(2).position(|pair| pair == b"*/").map_or(rest.len(), |end| end + 2);
            line += u32::try_from(rest[..end].iter().filter(|b| **b == b'\n').count()).unwrap_or_default();
            at += end;
        } else if byte == b'"' {
            let end = rest[1..].iter().position(|b| *b == b'"').map_or(rest.len(), |end| end + 2);
            found.push((Token::Text, line));
            at += end;
        } else if [&b".loc"[..], b".file"]
            .iter()
            .any(|word| rest.starts_with(word) && rest.get(word.len()).is_some_and(u8::is_ascii_whitespace))
        {
            // Positions in the source end with the line and have no semicolon.
            at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        } else if is_word(byte) {
            let mut end = at;
            loop {
                while end < bytes.len() && is_word(bytes[end]) {
                    end += 1;
                }
                // `L1::no_allocate` is one word; a label's colon stands alone.
                if bytes[end..].starts_with(b"::") {
                    end += 2;
                } else {
                    break;
                }
            }
            found.push((Token::Word(text[at..end].to_owned()), line));
            at = end;
        } else if byte.is_ascii_punctuation() {
            found.push((Token::Mark(char::from(byte)), line));
            at += 1;
        } else {
            return Err(Refusal { line, what: format!("byte {byte:#04x} is not part of PTX") });
        }
    }
    Ok(found)
}

/// Bytes of a type such as `.u64`, and the class of register that holds it.
fn type_of(name: &str) -> Option<(u32, Class)> {
    Some(match name.trim_start_matches('.') {
        "pred" => (1, Class::Pred),
        "b8" | "u8" | "s8" => (1, Class::Half),
        "b16" | "u16" | "s16" | "f16" | "bf16" => (2, Class::Half),
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => (4, Class::Word),
        "b64" | "u64" | "s64" | "f64" => (8, Class::Long),
        _ => return None,
    })
}

/// Names that a scope gives to registers and variables.
#[derive(Default)]
struct Scope {
    registers: HashMap<String, usize>,
    variables: HashMap<String, usize>,
}

impl Parser {
    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn refuse<T>(&self, what: impl Into<String>) -> Result<T, Refusal> {
        Err(Refusal { line: self.line(), what: what.into() })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn is(&self, mark: char) -> bool {
        self.peek() == Some(&Token::Mark(mark))
    }

    fn take(&mut self, mark: char) -> bool {
        let there = self.is(mark);
        self.at += usize::from(there);
        there
    }

    fn expect(&mut self, mark: char) -> Result<(), Refusal> {
        if self.take(mark) {
            Ok(())
        } else {
            self.refuse(format!("'{mark}' is missing before {:?}", self.peek()))
        }
    }

    fn word(&mut self) -> Result<String, Refusal> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.clone();
                self.at += 1;
                Ok(word)
            }
            other => self.refuse(format!("a name is missing before {other:?}")),
        }
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn skip_to(&mut self, mark: char) {
        while self.at < self.tokens.len() && !self.take(mark) {
            self.at += 1;
        }
    }

    fn number(&mut self) -> Result<i64, Refusal> {
        let negative = self.take('-');
        let word = self.word()?;
        match integer(&word) {
            Some(value) if negative => Ok(value.wrapping_neg().cast_signed()),
            Some(value) => Ok(value.cast_signed()),
            None => self.refuse(format!("'{word}' is no number")),
        }
    }

    fn small(&mut self) -> Result<u32, Refusal> {
        let number = self.number()?;
        u32::try_from(number).or_else(|_| self.refuse(format!("{number} is out of range")))
    }

    /// One construct at module level.
    fn directive(&mut self) -> Result<(), Refusal> {
        let word = self.word()?;
        match word.as_str() {
            ".version" => {
                self.word()?;
            }
            ".target" => {
                self.module.target = self.word()?;
                while self.take(',') {
                    self.word()?;
                }
            }
            ".address_size" => {
                if self.number()? != 64 {
                    return self.refuse("only .address_size 64 is supported");
                }
            }
            ".visible" | ".weak" | ".extern" | ".common" => {}
            ".pragma" => self.skip_to(';'),
            ".section" => {
                self.word()?;
                self.skip_to('}');
            }
            ".entry" | ".func" => self.function(word == ".entry")?,
            ".global" | ".const" => self.global(word == ".const")?,
            ".shared" => {
                let variables = self.variables(VariableSpace::Shared)?;
                self.module.shared.extend(variables);
            }
            _ => {
                self.at -= 1;
                return self.refuse(format!("'{word}' is not supported at module level"));
            }
        }
        Ok(())
    }

    fn global(&mut self, constant: bool) -> Result<(), Refusal> {
        let mut align = 0;
        while let Some(word) = self.peek_word() {
            match word {
                ".align" => {
                    self.at += 1;
                    align = self.small()?;
                }
                word if word.starts_with('.') && type_of(word).is_none() => {
                    return self.refuse(format!("'{word}' is not supported on a variable"));
                }
                _ => break,
            }
        }
        let kind = self.word()?;
        let Some((width, _)) = type_of(&kind) else { return self.refuse(format!("'{kind}' is no type")) };
        loop {
            let name = self.word()?;
            let mut count = 1;
            while self.take('[') {
                if !self.is(']') {
                    count *= u64::from(self.small()?);
                }
                self.expect(']')?;
            }
            let mut bytes = Vec::new();
            if self.take('=') {
                let many = self.take('{');
                loop {
                    let raw = self.initial(width)?;
                    bytes.extend(&raw.to_le_bytes()[..width as usize]);
                    if !(many && self.take(',')) {
                        break;
                    }
                }
                if many {
                    self.expect('}')?;
                }
            }
            let align = if align == 0 { width } else { align };
            let size = (u64::from(width) * count).max(bytes.len() as u64);
            self.module.globals.push(Global { name, align, size, bytes, constant });
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn initial(&mut self, width: u32) -> Result<u64, Refusal> {
        let negative = self.take('-');
        let word = self.word()?;
        match literal(&word) {
            Some(Operand::Single(bits)) => Ok(u64::from(bits)),
            Some(Operand::Double(bits)) => Ok(bits),
            Some(Operand::Integer(value)) => Ok(if negative { value.wrapping_neg() } else { value }),
            _ => self.refuse(format!("'{word}' as the initial value of {width} bytes is not supported")),
        }
    }

    /// Declarations after `.shared`, `.local` or `.param`, to the semicolon.
    fn variables(&mut self, space: VariableSpace) -> Result<Vec<Variable>, Refusal> {
        let mut found = Vec::new();
        let (align, width) = self.variable_type()?;
        loop {
            found.push(self.variable_name(space, align, width)?);
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')?;
        Ok(found)
    }

    fn variable_type(&mut self) -> Result<(u32, u32), Refusal> {
        let (mut align, mut width) = (0, 0);
        while let Some(word) = self.peek_word() {
            if let Some((bytes, _)) = type_of(word).filter(|_| word.starts_with('.')) {
                width = bytes;
                self.at += 1;
            } else if word == ".align" {
                self.at += 1;
                align = align.max(self.small()?);
            } else if matches!(word, ".ptr" | ".global" | ".shared" | ".const" | ".local") {
                // What a pointer points to and how that is aligned: `.ptr .global .align 1`.
                self.at += 1;
                if self.peek_word() == Some(".align") {
                    self.at += 2;
                }
            } else if word.starts_with('.') {
                return self.refuse(format!("'{word}' is not supported on a variable"));
            } else {
                break;
            }
        }
        if width == 0 {
            return self.refuse("a variable without a type");
        }
        Ok((if align == 0 { width } else { align }, width))
    }

    fn variable_name(&mut self, space: VariableSpace, align: u32, width: u32) -> Result<Variable, Refusal> {
        let name = self.word()?;
        let mut size = Some(width);
        while self.take('[') {
            size = if self.is(']') { None } else { Some(size.unwrap_or(width) * self.small()?) };
            self.expect(']')?;
        }
        Ok(Variable { name, space, align, size })
    }

    fn function(&mut self, entry: bool) -> Result<(), Refusal> {
        let line = self.line();
        let mut function = Function {
            name: String::new(),
            line,
            entry,
            returns: Vec::new(),
            params: Vec::new(),
            max_threads: None,
            exact_threads: false,
            min_blocks: 0,
            max_registers: None,
            registers: Vec::new(),
            variables: Vec::new(),
            labels: HashMap::new(),
            tables: HashMap::new(),
            instructions: Vec::new(),
        };
        let mut scope = Scope::default();
        if self.is('(') {
            function.returns = self.parameters(&mut function, &mut scope)?;
        }
        function.name = self.word()?;
        if self.is('(') {
            function.params = self.parameters(&mut function, &mut scope)?;
        }
        while let Some(word) = self.peek_word().map(str::to_owned) {
            self.at += 1;
            match word.as_str() {
                ".maxntid" | ".reqntid" => {
                    let mut threads = [1; 3];
                    for (at, side) in threads.iter_mut().enumerate() {
                        if at > 0 && !self.take(',') {
                            break;
                        }
                        *side = self.small()?;
                    }
                    function.max_threads = Some(threads);
                    function.exact_threads = word == ".reqntid";
                }
                ".minnctapersm" => function.min_blocks = self.small()?,
                ".maxnreg" => function.max_registers = Some(self.small()?),
                ".noreturn" => {}
                ".pragma" => self.skip_to(';'),
                _ => {
                    self.at -= 1;
                    return self.refuse(format!("'{word}' is not supported on a function"));
                }
            }
        }
        if self.take(';') {
            self.module.declared.push(function.name);
            return Ok(());
        }
        self.expect('{')?;
        let mut scopes = vec![scope, Scope::default()];
        while scopes.len() > 1 {
            self.statement(&mut function, &mut scopes)?;
        }
        self.module.functions.push(function);
        Ok(())
    }

    fn parameters(&mut self, function: &mut Function, scope: &mut Scope) -> Result<Vec<usize>, Refusal> {
        self.expect('(')?;
        let mut found = Vec::new();
        while !self.take(')') {
            let word = self.word()?;
            if word != ".param" {
                return self.refuse(format!("a parameter in '{word}' is not supported"));
            }
            let (align, width) = self.variable_type()?;
            let variable = self.variable_name(VariableSpace::Param, align, width)?;
            scope.variables.insert(variable.name.clone(), function.variables.len());
            found.push(function.variables.len());
            function.variables.push(variable);
            self.take(',');
        }
        Ok(found)
    }

    fn statement(&mut self, function: &mut Function, scopes: &mut Vec<Scope>) -> Result<(), Refusal> {
        if self.at >= self.tokens.len() {
            return self.refuse(format!("the body of {} does not end", function.name));
        }
        if self.take('{') {
            scopes.push(Scope::default());
            return Ok(());
        }
        if self.take('}') {
            scopes.pop();
            return Ok(());
        }
        if self.take(';') {
            return Ok(());
        }
        let next = self.tokens.get(self.at + 1).map(|(token, _)| token);
        if next == Some(&Token::Mark(':')) {
            let label = self.word()?;
            self.at += 1;
            if self.peek_word() == Some(".branchtargets") {
                self.at += 1;
                let mut targets = vec![self.word()?];
                while self.take(',') {
                    targets.push(self.word()?);
                }
                function.tables.insert(label, targets);
                return self.expect(';');
            }
            if function.labels.insert(label.clone(), function.instructions.len()).is_some() {
                return self.refuse(format!("label {label} stands twice"));
            }
            return Ok(());
        }
        match self.peek_word() {
            Some(".reg") => {
                self.at += 1;
                self.registers(function, scopes)
            }
            Some(word @ (".local" | ".shared" | ".param")) => {
                let space = match word {
                    ".local" => VariableSpace::Local,
                    ".shared" => VariableSpace::Shared,
                    _ => VariableSpace::Param,
                };
                self.at += 1;
                for variable in self.variables(space)? {
                    let scope = scopes.last_mut().expect("a function's own scope");
                    scope.variables.insert(variable.name.clone(), function.variables.len());
                    function.variables.push(variable);
                }
                Ok(())
            }
            Some(".pragma") => {
                self.skip_to(';');
                Ok(())
            }
            _ => self.instruction(function, scopes),
        }
    }

    fn registers(&mut self, function: &mut Function, scopes: &mut [Scope]) -> Result<(), Refusal> {
        let kind = self.word()?;
        let Some((_, class)) = type_of(&kind) else {
            return self.refuse(format!("registers of type '{kind}' are not supported"));
        };
        let scope = scopes.last_mut().expect("a function's own scope");
        loop {
            let name = self.word()?;
            if self.take('<') {
                for n in 0..self.small()? {
                    scope.registers.insert(format!("{name}{n}"), function.registers.len());
                    function.registers.push(class);
                }
                self.expect('>')?;
            } else {
                scope.registers.insert(name, function.registers.len());
                function.registers.push(class);
            }
            if !self.take(',') {
                break;
            }
        }
        self.expect(';')
    }

    fn instruction(&mut self, function: &mut Function, scopes: &[Scope]) -> Result<(), Refusal> {
        let line = self.line();
        let guard = if self.take('@') {
            let negated = self.take('!');
            let name = self.word()?;
            match register(scopes, &name) {
                Some(register) => Some((register, negated)),
                None => return self.refuse(format!("the guard {name} is not declared")),
            }
        } else {
            None
        };
        let parts = self.word()?.split('.').map(str::to_owned).collect();
        let mut operands = Vec::new();
        while !self.take(';') {
            if !operands.is_empty() {
                self.expect(',')?;
            }
            operands.push(self.operand(scopes)?);
        }
        function.instructions.push(Instruction { line, guard, parts, operands });
        Ok(())
    }

    fn operand(&mut self, scopes: &[Scope]) -> Result<Operand, Refusal> {
        for (open, close) in [('{', '}'), ('(', ')')] {
            if self.take(open) {
                let mut all = Vec::new();
                while !self.take(close) {
                    all.push(self.operand(scopes)?);
                    self.take(',');
                }
                return Ok(Operand::Vector(all));
            }
        }
        if self.take('[') {
            let base = self.simple(scopes)?;
            let offset = if self.take('+') || self.is('-') { self.number()? } else { 0 };
            if !self.take(']') {
                return self.refuse("an address of more than base and offset is not supported");
            }
            return Ok(Operand::Address(Box::new(base), offset));
        }
        let first = self.simple(scopes)?;
        if self.take('|') {
            let second = self.simple(scopes)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn simple(&mut self, scopes: &[Scope]) -> Result<Operand, Refusal> {
        if self.take('!') {
            let name = self.word()?;
            return match register(scopes, &name) {
                Some(register) => Ok(Operand::Not(register)),
                None => self.refuse(format!("{name} is not declared")),
            };
        }
        if self.is('-') {
            return Ok(Operand::Integer(self.number()?.cast_unsigned()));
        }
        let name = self.word()?;
        if name == "_" {
            return Ok(Operand::Sink);
        }
        if let Some(register) = register(scopes, &name) {
            return Ok(Operand::Register(register));
        }
        if let Some(variable) = scopes.iter().rev().find_map(|scope| scope.variables.get(&name)) {
            return Ok(Operand::Variable(*variable));
        }
        if let Some(literal) = literal(&name) {
            return Ok(literal);
        }
        Ok(if name.starts_with('%') { Operand::Special(name) } else { Operand::Name(name) })
    }
}

fn register(scopes: &[Scope], name: &str) -> Option<usize> {
    scopes.iter().rev().find_map(|scope| scope.registers.get(name)).copied()
}

/// `12`, `0x0c`, `014`, `12U`.
fn integer(word: &str) -> Option<u64> {
    let word = word.strip_suffix('U').unwrap_or(word);
    if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        return u64::from_str_radix(digits, 16).ok();
    }
    if word.len() > 1 && word.starts_with('0') {
        return u64::from_str_radix(&word[1..], 8).ok();
    }
    word.parse().ok()
}

fn literal(word: &str) -> Option<Operand> {
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
    match word.get(..2) {
        Some("0f" | "0F") => u32::try_from(hexadecimal(&word[2..])?).ok().map(Operand::Single),
        Some("0d" | "0D") => hexadecimal(&word[2..]).map(Operand::Double),
        _ => integer(word).map(Operand::Integer),
    }
}
