//! Executes a parsed template.
//!
//! `functions` computes values. This file knows the order of the work, the scopes of variables, and
//! which line each output line comes from.

use std::collections::BTreeMap;

use crate::recipe::template::functions;
use crate::recipe::template::outcome::{Rendered, TemplateError};
use crate::recipe::template::syntax::{Base, Command, Operand, Part, Pipe, Template};
use crate::recipe::template::value::{Map, Value};

/// Most bytes of the output.
const OUTPUT_LIMIT: usize = 4 << 20;
/// Most parts that one template executes. A template that needs more does not end.
const STEP_LIMIT: usize = 1_000_000;
/// Most templates that call each other.
const CALL_LIMIT: usize = 100;

type Done<T> = Result<T, TemplateError>;

/// Executes a template over the variables.
pub(super) fn execute(template: &Template, variables: &BTreeMap<String, String>) -> Done<Rendered> {
    let dot = Value::Map(Map::of_texts(variables));
    let mut run = Run {
        template,
        variables: vec![("$".to_owned(), dot.clone())],
        output: Output { text: String::new(), lines: vec![1], blank: true },
        missing: Vec::new(),
        asked: Vec::new(),
        steps: 0,
        calls: 0,
    };
    run.parts(&template.body, &dot)?;
    let Run { output: Output { text, lines, .. }, missing, asked, .. } = run;
    Ok(Rendered { text, lines, missing, asked })
}

/// The text that was written, and the origin of its lines.
struct Output {
    text: String,
    lines: Vec<usize>,
    /// Whether the last line has only blanks until now. The first character that is none decides
    /// where the line comes from.
    blank: bool,
}

impl Output {
    /// Appends text. With `follows`, its lines are lines of the template from `line` on.
    fn push(&mut self, text: &str, mut line: usize, follows: bool) {
        for c in text.chars() {
            if c == '\n' {
                line += usize::from(follows);
                self.lines.push(line);
                self.blank = true;
            } else if self.blank {
                if let Some(last) = self.lines.last_mut() {
                    *last = line;
                }
                self.blank = c.is_whitespace();
            }
        }
        self.text.push_str(text);
    }
}

/// How a list of parts ended.
#[derive(PartialEq)]
enum Flow {
    On,
    Break,
    Continue,
}

struct Run<'a> {
    template: &'a Template,
    variables: Vec<(String, Value)>,
    output: Output,
    missing: Vec<(String, usize)>,
    asked: Vec<(String, usize)>,
    steps: usize,
    calls: usize,
}

impl Run<'_> {
    fn parts(&mut self, parts: &[Part], dot: &Value) -> Done<Flow> {
        for part in parts {
            let flow = self.part(part, dot)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn step(&mut self, line: usize) -> Done<()> {
        self.steps += 1;
        if self.steps > STEP_LIMIT || self.output.text.len() > OUTPUT_LIMIT {
            return Err(TemplateError::new(line, "the template makes too much, or does not end"));
        }
        Ok(())
    }

    fn part(&mut self, part: &Part, dot: &Value) -> Done<Flow> {
        match part {
            Part::Text { text, line } => {
                self.step(*line)?;
                self.output.push(text, *line, true);
            }
            Part::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    if let Value::Missing(Some(name)) = &value {
                        self.missing.push((name.to_string(), pipe.line));
                    }
                    self.output.push(&value.shown(), pipe.line, false);
                }
            }
            Part::If { pipe, then, otherwise } => {
                return self.scope(|run| {
                    let chosen = if run.pipe(pipe, dot)?.is_true() { then } else { otherwise };
                    run.parts(chosen, dot)
                });
            }
            Part::With { pipe, then, otherwise } => {
                return self.scope(|run| {
                    let value = run.pipe(pipe, dot)?;
                    if value.is_true() {
                        run.parts(then, &value)
                    } else {
                        run.parts(otherwise, dot)
                    }
                });
            }
            Part::Range { pipe, body, otherwise } => {
                return self.scope(|run| run.range(pipe, body, otherwise, dot));
            }
            Part::Call { name, pipe, line } => self.call(name, pipe.as_ref(), *line, dot)?,
            Part::Break => return Ok(Flow::Break),
            Part::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    /// Forgets the variables that `work` makes.
    fn scope<T>(&mut self, work: impl FnOnce(&mut Self) -> Done<T>) -> Done<T> {
        let known = self.variables.len();
        let result = work(self);
        self.variables.truncate(known);
        result
    }

    fn range(&mut self, pipe: &Pipe, body: &[Part], otherwise: &[Part], dot: &Value) -> Done<Flow> {
        let items: Vec<(Value, Value)> = match self.commands(pipe, dot)? {
            Value::Missing(_) => Vec::new(),
            Value::List(items) => {
                let numbered = (0..).zip(items.iter());
                numbered.map(|(index, item)| (Value::Int(index), item.clone())).collect()
            }
            Value::Map(map) => {
                map.entries().into_iter().map(|(key, value)| (Value::text(key), value)).collect()
            }
            Value::Int(count) => {
                let count = count.clamp(0, STEP_LIMIT as i64);
                (0..count).map(|n| (Value::Int(n), Value::Int(n))).collect()
            }
            other => {
                let message = format_args!("`range` cannot go over a {}", other.kind());
                return Err(TemplateError::new(pipe.line, message));
            }
        };
        if items.is_empty() {
            return self.parts(otherwise, dot);
        }
        for (key, item) in items {
            self.step(pipe.line)?;
            let flow = self.scope(|run| {
                let values = match pipe.variables.len() {
                    0 => Vec::new(),
                    1 => vec![item.clone()],
                    _ => vec![key, item.clone()],
                };
                for (name, value) in pipe.variables.iter().zip(values) {
                    run.set(name, value, pipe.assigns);
                }
                run.parts(body, &item)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn call(&mut self, name: &str, pipe: Option<&Pipe>, line: usize, dot: &Value) -> Done<()> {
        let Some(body) = self.template.defined.get(name) else {
            let message = format_args!("there is no template `{name}`; `define` makes one");
            return Err(TemplateError::new(line, message));
        };
        self.calls += 1;
        if self.calls > CALL_LIMIT {
            let message = format_args!("the template `{name}` calls itself without end");
            return Err(TemplateError::new(line, message));
        }
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Missing(None),
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), dot.clone())]);
        let result = self.parts(body, &dot);
        self.variables = outer;
        self.calls -= 1;
        result.map(|_| ())
    }

    /// Computes a pipeline, and sets its variables.
    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Done<Value> {
        let value = self.commands(pipe, dot)?;
        if let Some(name) = pipe.variables.first() {
            self.set(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn set(&mut self, name: &str, value: Value, assigns: bool) {
        let earlier = self.variables.iter_mut().rev().find(|(known, _)| assigns && known == name);
        match earlier {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }

    fn commands(&mut self, pipe: &Pipe, dot: &Value) -> Done<Value> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, value, dot)?);
        }
        Ok(value.unwrap_or(Value::Missing(None)))
    }

    fn command(&mut self, command: &Command, last: Option<Value>, dot: &Value) -> Done<Value> {
        self.step(command.line)?;
        let wrong = |message: String| TemplateError::new(command.line, message);
        let Some((first, rest)) = command.words.split_first() else {
            return Err(wrong("a command is missing".to_owned()));
        };
        let Base::Function(name) = &first.base else {
            if !rest.is_empty() || last.is_some() {
                let message = "a value is not a function and takes no arguments".to_owned();
                return Err(wrong(message));
            }
            return self.operand(first, dot, command.line);
        };
        // `and` and `or` compute no argument that cannot change the result.
        if let "and" | "or" = name.as_str() {
            let mut value = None;
            for word in rest {
                let next = self.operand(word, dot, command.line)?;
                let decided = next.is_true() == (name == "or");
                value = Some(next);
                if decided {
                    return Ok(value.unwrap_or(Value::Missing(None)));
                }
            }
            return last.or(value).ok_or_else(|| wrong(format!("`{name}` needs a value")));
        }
        let mut values = Vec::new();
        for word in rest {
            values.push(self.operand(word, dot, command.line)?);
        }
        values.extend(last);
        let value = self.function(name, &values, command.line)?;
        fields(value, &first.fields).map_err(wrong)
    }

    fn function(&mut self, name: &str, values: &[Value], line: usize) -> Done<Value> {
        let Some(function) = functions::find(name) else {
            return Err(TemplateError::new(line, format_args!("no function `{name}`")));
        };
        if function.prints {
            let missing = values.iter().filter_map(|value| match value {
                Value::Missing(Some(name)) => Some((name.to_string(), line)),
                _ => None,
            });
            self.missing.extend(missing);
        }
        if function.asks_host {
            self.asked
                .extend(values.iter().map(|value| (format!("{name} {}", value.inner()), line)));
        }
        function.call(values).map_err(|why| TemplateError::new(line, format_args!("{name}: {why}")))
    }

    fn operand(&mut self, operand: &Operand, dot: &Value, line: usize) -> Done<Value> {
        let base = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Nil => Value::Missing(None),
            Base::Constant(value) => value.clone(),
            Base::Variable(name) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                found.map_or(Value::Missing(None), |(_, value)| value.clone())
            }
            Base::Function(name) => self.function(name, &[], line)?,
            Base::Pipe(pipe) => self.scope(|run| run.pipe(pipe, dot))?,
        };
        fields(base, &operand.fields).map_err(|message| TemplateError::new(line, message))
    }
}

/// Takes fields of a value.
fn fields(mut value: Value, fields: &[String]) -> Result<Value, String> {
    for name in fields {
        value = match &value {
            Value::Map(map) => map.field(name),
            Value::Missing(Some(outer)) => Value::Missing(Some(format!("{outer}.{name}").into())),
            Value::Missing(None) => Value::Missing(Some(name.as_str().into())),
            other => return Err(format!("a {} has no field `.{name}`", other.kind())),
        };
    }
    Ok(value)
}
