//! What stands at module level: variables, and the heads of functions.

use std::collections::HashMap;

use super::token::literal;
use super::{Class, Function, Global, Operand, Parser, Refusal, Scope, Variable, VariableSpace};

/// Bytes of a type such as `.u64`, and the class of register that holds it.
pub(super) fn type_of(name: &str) -> Option<(u32, Class)> {
    Some(match name.trim_start_matches('.') {
        "pred" => (1, Class::Pred),
        "b8" | "u8" | "s8" => (1, Class::Half),
        "b16" | "u16" | "s16" | "f16" | "bf16" => (2, Class::Half),
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => (4, Class::Word),
        "b64" | "u64" | "s64" | "f64" => (8, Class::Long),
        _ => return None,
    })
}

impl Parser {
    /// One construct at module level.
    pub(super) fn directive(&mut self) -> Result<(), Refusal> {
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

    pub(super) fn global(&mut self, constant: bool) -> Result<(), Refusal> {
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

    pub(super) fn initial(&mut self, width: u32) -> Result<u64, Refusal> {
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
    pub(super) fn variables(&mut self, space: VariableSpace) -> Result<Vec<Variable>, Refusal> {
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

    pub(super) fn variable_type(&mut self) -> Result<(u32, u32), Refusal> {
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

    pub(super) fn variable_name(
        &mut self,
        space: VariableSpace,
        align: u32,
        width: u32,
    ) -> Result<Variable, Refusal> {
        let name = self.word()?;
        let mut size = Some(width);
        while self.take('[') {
            size = if self.is(']') { None } else { Some(size.unwrap_or(width) * self.small()?) };
            self.expect(']')?;
        }
        Ok(Variable { name, space, align, size })
    }

    pub(super) fn function(&mut self, entry: bool) -> Result<(), Refusal> {
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

    pub(super) fn parameters(
        &mut self,
        function: &mut Function,
        scope: &mut Scope,
    ) -> Result<Vec<usize>, Refusal> {
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
}
