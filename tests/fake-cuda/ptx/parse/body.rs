//! The body of a function: declarations, labels, instructions and their operands, names resolved by scope.

use super::module::type_of;
use super::token::{Token, literal};
use super::{Function, Instruction, Operand, Parser, Refusal, Scope, VariableSpace};

impl Parser {
    pub(super) fn statement(
        &mut self,
        function: &mut Function,
        scopes: &mut Vec<Scope>,
    ) -> Result<(), Refusal> {
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

    pub(super) fn registers(&mut self, function: &mut Function, scopes: &mut [Scope]) -> Result<(), Refusal> {
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

    pub(super) fn instruction(&mut self, function: &mut Function, scopes: &[Scope]) -> Result<(), Refusal> {
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

    pub(super) fn operand(&mut self, scopes: &[Scope]) -> Result<Operand, Refusal> {
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

    pub(super) fn simple(&mut self, scopes: &[Scope]) -> Result<Operand, Refusal> {
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

pub(super) fn register(scopes: &[Scope], name: &str) -> Option<usize> {
    scopes.iter().rev().find_map(|scope| scope.registers.get(name)).copied()
}
