//! Parses the words of a template.
//!
//! `lex` makes the words. Names of functions and variables are checked here, before anything is
//! executed, as Go does.

use std::collections::BTreeMap;

use crate::recipe::template::functions;
use crate::recipe::template::lex::{Token, Word, lex};
use crate::recipe::template::outcome::TemplateError;
use crate::recipe::template::syntax::{Base, Command, Operand, Part, Pipe, Template};
use crate::recipe::template::value::Value;
use crate::recipe::yaml::closest;

/// Most levels of `if`, `range`, `with` and parentheses.
const DEPTH_LIMIT: usize = 100;

type Parsed<T> = Result<T, TemplateError>;

/// Parses a template.
pub(super) fn parse(template: &str) -> Parsed<Template> {
    let tokens = lex(template)?;
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        line: 1,
        variables: vec!["$".to_owned()],
        defined: BTreeMap::new(),
        depth: 0,
        loops: 0,
    };
    let (body, end) = parser.parts()?;
    match end {
        Ending::Text => Ok(Template { body, defined: parser.defined }),
        Ending::Close => {
            Err(parser.wrong("`{{ end }}` without an `if`, `range`, `with` or `define`"))
        }
        Ending::Else => Err(parser.wrong("`{{ else }}` without an `if`, `range` or `with`")),
    }
}

/// What a list of parts ends with.
#[derive(PartialEq)]
enum Ending {
    /// The end of the file.
    Text,
    /// `end`
    Close,
    /// The words after `else` are still there.
    Else,
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
    line: usize,
    variables: Vec<String>,
    defined: BTreeMap<String, Vec<Part>>,
    depth: usize,
    loops: usize,
}

impl Parser {
    fn wrong(&self, message: impl std::fmt::Display) -> TemplateError {
        TemplateError::new(self.line, message)
    }

    fn next(&mut self) -> Option<Word> {
        let (word, line) = self.tokens.next()?;
        self.line = line;
        Some(word)
    }

    fn peek(&mut self) -> Option<&Word> {
        self.tokens.peek().map(|(word, _)| word)
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Word::Space) {
            self.next();
        }
    }

    fn take(&mut self, word: &Word) -> bool {
        self.skip_space();
        let found = self.peek() == Some(word);
        if found {
            self.next();
        }
        found
    }

    fn take_name(&mut self, name: &str) -> bool {
        self.take(&Word::Name(name.to_owned()))
    }

    fn close(&mut self, what: &str) -> Parsed<()> {
        if self.take(&Word::Close) {
            return Ok(());
        }
        Err(self.wrong(format_args!("`}}}}` is missing after {what}")))
    }

    /// Parses up to `{{ end }}`, `{{ else }}` or the end of the file.
    fn parts(&mut self) -> Parsed<(Vec<Part>, Ending)> {
        let mut parts = Vec::new();
        while let Some(word) = self.next() {
            let text = match word {
                Word::Text(text) => Some(text),
                _ => None,
            };
            let line = self.line;
            if let Some(text) = text {
                parts.push(Part::Text { text, line });
                continue;
            }
            self.skip_space();
            let name = match self.peek() {
                Some(Word::Name(name)) => name.clone(),
                _ => String::new(),
            };
            match name.as_str() {
                "end" => {
                    self.next();
                    self.close("end")?;
                    return Ok((parts, Ending::Close));
                }
                "else" => {
                    self.next();
                    return Ok((parts, Ending::Else));
                }
                "if" | "with" | "range" => {
                    self.next();
                    parts.push(self.control(&name)?);
                }
                "define" | "block" | "template" => {
                    self.next();
                    parts.extend(self.named(&name)?);
                }
                "break" | "continue" => {
                    self.next();
                    self.close(&name)?;
                    if self.loops == 0 {
                        return Err(self.wrong(format_args!("`{name}` outside of a `range`")));
                    }
                    parts.push(if name == "break" { Part::Break } else { Part::Continue });
                }
                _ => {
                    let pipe = self.pipe(&Word::Close)?;
                    parts.push(Part::Action(pipe));
                }
            }
        }
        Ok((parts, Ending::Text))
    }

    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_LIMIT {
            return Err(self.wrong(format_args!("more than {DEPTH_LIMIT} levels in each other")));
        }
        Ok(())
    }

    /// Parses an `if`, a `with` or a `range` from its condition to its `end`.
    fn control(&mut self, name: &str) -> Parsed<Part> {
        let opened = self.line;
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.pipe(&Word::Close)?;
        self.loops += usize::from(name == "range");
        let (then, end) = self.parts()?;
        self.loops -= usize::from(name == "range");
        let mut otherwise = Vec::new();
        match end {
            Ending::Close => {}
            Ending::Text => {
                return Err(TemplateError::new(
                    opened,
                    format_args!("`{{{{ {name} }}}}` has no `{{{{ end }}}}`"),
                ));
            }
            Ending::Else => otherwise = self.otherwise(name, opened)?,
        }
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(match name {
            "if" => Part::If { pipe, then, otherwise },
            "with" => Part::With { pipe, then, otherwise },
            _ => Part::Range { pipe, body: then, otherwise },
        })
    }

    fn otherwise(&mut self, name: &str, opened: usize) -> Parsed<Vec<Part>> {
        // `else if` and `else with` share the `end` of what they belong to.
        for again in ["if", "with"] {
            if self.take_name(again) {
                if name == "range" || again == "with" && name != "with" {
                    return Err(self.wrong(format_args!("`else {again}` after `{name}`")));
                }
                return Ok(vec![self.control(again)?]);
            }
        }
        self.close("else")?;
        let (parts, end) = self.parts()?;
        match end {
            Ending::Close => Ok(parts),
            Ending::Else => Err(self.wrong(format_args!("a second `else` after `{name}`"))),
            Ending::Text => Err(TemplateError::new(
                opened,
                format_args!("`{{{{ {name} }}}}` has no `{{{{ end }}}}`"),
            )),
        }
    }

    /// Parses `define`, `block` and `template`.
    fn named(&mut self, kind: &str) -> Parsed<Option<Part>> {
        self.skip_space();
        let line = self.line;
        let Some(Word::Literal(Value::Text(name))) = self.next() else {
            return Err(self.wrong(format_args!("`{kind}` needs a name in quotes")));
        };
        let name = name.to_string();
        let pipe = match kind {
            "define" => {
                self.close("define")?;
                None
            }
            _ if self.take(&Word::Close) => None,
            _ => Some(self.pipe(&Word::Close)?),
        };
        if kind != "template" {
            self.deeper()?;
            let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
            let loops = std::mem::take(&mut self.loops);
            let (body, end) = self.parts()?;
            if end != Ending::Close {
                let message = format_args!("`{{{{ {kind} }}}}` has no `{{{{ end }}}}`");
                return Err(TemplateError::new(line, message));
            }
            self.variables = outer;
            self.loops = loops;
            self.depth -= 1;
            self.defined.insert(name.clone(), body);
        }
        Ok((kind != "define").then_some(Part::Call { name, pipe, line }))
    }

    /// Parses a pipeline up to and with `end`.
    fn pipe(&mut self, end: &Word) -> Parsed<Pipe> {
        self.skip_space();
        let line = self.tokens.peek().map_or(self.line, |(_, line)| *line);
        let mut pipe = Pipe { variables: Vec::new(), assigns: false, commands: Vec::new(), line };
        let first = match self.peek() {
            Some(Word::Variable(name)) => Some(name.clone()),
            _ => None,
        };
        let mut words = Vec::new();
        if let Some(name) = first {
            self.next();
            if !self.declaration(&name, &mut pipe)? {
                words.push(self.operand_of(Base::Variable(name))?);
            }
        }
        loop {
            self.skip_space();
            let line = self.line;
            match self.peek() {
                Some(word) if word == end => {
                    self.next();
                    // Go takes a `|` with nothing after it for none.
                    if words.is_empty() && !pipe.commands.is_empty() {
                        return Ok(pipe);
                    }
                    self.command(&mut pipe, words, line)?;
                    return Ok(pipe);
                }
                Some(Word::Pipe) => {
                    self.next();
                    self.command(&mut pipe, std::mem::take(&mut words), line)?;
                }
                _ => {
                    let operand = self.operand()?;
                    words.push(operand);
                }
            }
        }
    }

    fn command(&self, pipe: &mut Pipe, words: Vec<Operand>, line: usize) -> Parsed<()> {
        match words.first() {
            None => return Err(self.wrong("a command is missing")),
            Some(Operand { base: Base::Nil, .. }) => return Err(self.wrong("`nil` is no command")),
            // A value that gets the value before it cannot take it.
            Some(Operand { base: Base::Constant(_) | Base::Dot, fields })
                if !pipe.commands.is_empty() && fields.is_empty() =>
            {
                return Err(self.wrong("after `|` comes a function"));
            }
            _ => pipe.commands.push(Command { words, line }),
        }
        Ok(())
    }

    /// Reads `:=` or `=` after a variable, and with it `$i, $x := …` of a range.
    fn declaration(&mut self, name: &str, pipe: &mut Pipe) -> Parsed<bool> {
        let mut names = vec![name.to_owned()];
        // Blanks before a sign belong to it. Blanks before an argument are skipped later.
        self.skip_space();
        if self.peek() == Some(&Word::Comma) {
            self.next();
            self.skip_space();
            match self.next() {
                Some(Word::Variable(second)) => names.push(second),
                _ => return Err(self.wrong("a variable is missing after `,`")),
            }
            self.skip_space();
        }
        let assigns = match self.peek() {
            Some(Word::Declare) => false,
            Some(Word::Assign) => true,
            _ if names.len() > 1 => return Err(self.wrong("`:=` is missing")),
            _ => return Ok(false),
        };
        self.next();
        pipe.assigns = assigns;
        for name in &names {
            if assigns {
                self.check_variable(name)?;
            } else {
                self.variables.push(name.clone());
            }
        }
        pipe.variables = names;
        Ok(true)
    }

    fn check_variable(&self, name: &str) -> Parsed<()> {
        if self.variables.iter().any(|known| known == name) {
            return Ok(());
        }
        let known: Vec<&str> = self.variables[1..].iter().map(String::as_str).collect();
        let hint = closest(name, &known).map(|meant| format!("; did you mean `{meant}`?"));
        Err(self.wrong(format_args!(
            "the template variable `{name}` is not set before this line{}",
            hint.unwrap_or_default()
        )))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let base = match self.next() {
            Some(Word::Dot) => Base::Dot,
            Some(Word::Field(name)) => {
                let mut operand = self.operand_of(Base::Dot)?;
                operand.fields.insert(0, name);
                return Ok(operand);
            }
            Some(Word::Variable(name)) => Base::Variable(name),
            Some(Word::Literal(value)) => Base::Constant(value),
            Some(Word::LeftParen) => {
                self.deeper()?;
                let pipe = self.pipe(&Word::RightParen)?;
                self.depth -= 1;
                Base::Pipe(Box::new(pipe))
            }
            Some(Word::Name(name)) => match name.as_str() {
                "true" | "false" => Base::Constant(Value::Bool(name == "true")),
                "nil" => Base::Nil,
                _ => {
                    self.check_function(&name)?;
                    Base::Function(name)
                }
            },
            Some(Word::Close) | None => return Err(self.wrong("a `)` is missing")),
            Some(word) => {
                let shown = match word {
                    Word::RightParen => "`)`",
                    Word::Declare | Word::Assign => "`=`; only `$name = …` sets a variable",
                    Word::Comma => "`,`",
                    _ => "word",
                };
                return Err(self.wrong(format_args!("unexpected {shown}")));
            }
        };
        self.operand_of(base)
    }

    fn operand_of(&mut self, base: Base) -> Parsed<Operand> {
        if let Base::Variable(name) = &base {
            self.check_variable(name)?;
        }
        let mut fields = Vec::new();
        while let Some(Word::Field(name)) = self.peek() {
            fields.push(name.clone());
            self.next();
        }
        Ok(Operand { base, fields })
    }

    fn check_function(&self, name: &str) -> Parsed<()> {
        if let Some(why) = functions::refused(name) {
            return Err(self.wrong(format_args!("the function `{name}` {why}")));
        }
        if functions::find(name).is_some() {
            return Ok(());
        }
        let hint = closest(name, &functions::names());
        let hint = hint.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
        Err(self.wrong(format_args!("there is no template function `{name}`{hint}")))
    }
}
