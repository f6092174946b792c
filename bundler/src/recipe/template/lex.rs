//! Cuts a template into text and the words of its actions.
//!
//! `parse` gives them a meaning. Trim marks and comments are done here.

use crate::recipe::template::outcome::TemplateError;
use crate::recipe::template::value::Value;

/// A word and its line.
pub(super) type Token = (Word, usize);

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Word {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// Blanks between operands. They part `.a .b` from `.a.b`.
    Space,
    /// A name: a keyword or a function.
    Name(String),
    /// `.name`, without the point.
    Field(String),
    /// `$name`, with the sign.
    Variable(String),
    /// A number, a character or a text.
    Literal(Value),
    /// `.`
    Dot,
    Pipe,
    Comma,
    Declare,
    Assign,
    LeftParen,
    RightParen,
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// Returns all words of a template.
pub(super) fn lex(template: &str) -> Result<Vec<Token>, TemplateError> {
    let mut lexer = Lexer { rest: template, line: 1, tokens: Vec::new() };
    let mut trim = false;
    loop {
        let (text, action) = match lexer.rest.find("{{") {
            Some(at) => (&lexer.rest[..at], Some(&lexer.rest[at + 2..])),
            None => (lexer.rest, None),
        };
        let trims_next = action.is_some_and(|a| a.starts_with('-') && a[1..].starts_with(BLANKS));
        let start = if trim { text.trim_start_matches(BLANKS) } else { text };
        let line = lexer.line + newlines(&text[..text.len() - start.len()]);
        let kept = if trims_next { start.trim_end_matches(BLANKS) } else { start };
        if !kept.is_empty() {
            lexer.tokens.push((Word::Text(kept.to_owned()), line));
        }
        lexer.line += newlines(text);
        let Some(action) = action else { return Ok(lexer.tokens) };
        lexer.rest = if trims_next { &action[1..] } else { action };
        trim = lexer.action()?;
    }
}

fn newlines(text: &str) -> usize {
    text.matches('\n').count()
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    /// Reads up to and with `}}`. Returns true if the text after it is to be trimmed.
    fn action(&mut self) -> Result<bool, TemplateError> {
        let opened = self.line;
        let comment = self.rest.trim_start_matches(BLANKS);
        if comment.starts_with("/*") && (comment.len() == self.rest.len() || self.trimmed()) {
            return self.comment(comment);
        }
        self.tokens.push((Word::Open, self.line));
        loop {
            let blanks = self.rest.len() - self.rest.trim_start_matches(BLANKS).len();
            if blanks > 0 {
                let after = &self.rest[blanks..];
                self.advance(blanks);
                if after.starts_with("-}}") {
                    self.advance(3);
                    self.tokens.push((Word::Close, self.line));
                    return Ok(true);
                }
                self.tokens.push((Word::Space, self.line));
            }
            if self.rest.starts_with("}}") {
                self.advance(2);
                self.tokens.push((Word::Close, self.line));
                return Ok(false);
            }
            if self.rest.is_empty() {
                return Err(TemplateError::new(opened, "the action `{{` has no `}}`"));
            }
            self.word()?;
        }
    }

    /// Whether a trim mark was before the rest.
    fn trimmed(&self) -> bool {
        self.rest.starts_with(BLANKS)
    }

    fn comment(&mut self, comment: &str) -> Result<bool, TemplateError> {
        let wrong = |why| Err(TemplateError::new(self.line, why));
        let Some(end) = comment.find("*/") else {
            return wrong("the comment `/*` has no `*/`");
        };
        let after = &comment[end + 2..];
        let trim = after.starts_with(BLANKS) && after.trim_start_matches(BLANKS).starts_with("-}}");
        if !trim && !after.starts_with("}}") {
            return wrong("a comment must end with `*/}}` or `*/ -}}`");
        }
        let tail = if trim { after.trim_start_matches(BLANKS)[1..].len() } else { after.len() };
        self.advance(self.rest.len() - tail + 2);
        Ok(trim)
    }

    /// Takes `bytes` bytes of the rest, and counts their lines.
    fn advance(&mut self, bytes: usize) -> String {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += newlines(taken);
        self.rest = rest;
        taken.to_owned()
    }

    fn word(&mut self) -> Result<(), TemplateError> {
        let line = self.line;
        let rest = self.rest;
        let first = rest.chars().next().unwrap_or_default();
        let name_at = |from: usize| {
            let tail = &rest[from..];
            from + tail.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(tail.len())
        };
        let second = rest[first.len_utf8()..].chars().next().unwrap_or_default();
        let word = match first {
            '|' => (Word::Pipe, 1),
            ',' => (Word::Comma, 1),
            '(' => (Word::LeftParen, 1),
            ')' => (Word::RightParen, 1),
            ':' if second == '=' => (Word::Declare, 2),
            '=' => (Word::Assign, 1),
            '$' => (Word::Variable(rest[..name_at(1)].to_owned()), name_at(1)),
            '"' | '`' | '\'' => {
                let (value, length) =
                    literal::quoted(rest, first).map_err(|why| TemplateError::new(line, why))?;
                (Word::Literal(value), length)
            }
            '.' if second.is_alphabetic() || second == '_' => {
                (Word::Field(rest[1..name_at(1)].to_owned()), name_at(1))
            }
            '.' if !second.is_ascii_digit() => (Word::Dot, 1),
            '0'..='9' | '+' | '-' | '.' => {
                let (value, length) =
                    literal::number(rest).map_err(|why| TemplateError::new(line, why))?;
                (Word::Literal(value), length)
            }
            c if c.is_alphabetic() || c == '_' => {
                (Word::Name(rest[..name_at(0)].to_owned()), name_at(0))
            }
            c => {
                return Err(TemplateError::new(
                    line,
                    format_args!("unexpected `{c}` in an action"),
                ));
            }
        };
        self.advance(word.1);
        self.tokens.push((word.0, line));
        Ok(())
    }
}

/// Texts, characters and numbers, as Go writes them.
mod literal {
    use crate::recipe::template::value::Value;

    /// Returns a quoted text or character, and its length in bytes.
    pub(super) fn quoted(text: &str, quote: char) -> Result<(Value, usize), String> {
        let mut out = String::new();
        let mut chars = text.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    let length = at + 1;
                    if quote != '\'' {
                        return Ok((Value::text(out), length));
                    }
                    let mut one = out.chars();
                    return match (one.next(), one.next()) {
                        (Some(c), None) => Ok((Value::Int(i64::from(u32::from(c))), length)),
                        _ => Err("a text in `'`; Go writes texts in `\"`".to_owned()),
                    };
                }
                '\n' if quote != '`' => break,
                '\\' if quote != '`' => out.push(escaped(&mut chars)?),
                c => out.push(c),
            }
        }
        Err(format!("the quote {quote} does not end"))
    }

    fn escaped(chars: &mut impl Iterator<Item = (usize, char)>) -> Result<char, String> {
        let (_, c) = chars.next().ok_or("a `\\` at the end")?;
        let mut number = |digits: usize, radix: u32, first: Option<char>| {
            let mut text = String::from_iter(first);
            text.extend(chars.by_ref().take(digits).map(|(_, c)| c));
            let code = u32::from_str_radix(&text, radix).ok().and_then(char::from_u32);
            code.ok_or_else(|| format!("`\\{text}` is not a character"))
        };
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '"' | '\'' => c,
            'x' => number(2, 16, None)?,
            'u' => number(4, 16, None)?,
            'U' => number(8, 16, None)?,
            '0'..='7' => number(2, 8, Some(c))?,
            other => return Err(format!("`\\{other}` in a text")),
        })
    }

    /// Returns a number and its length in bytes.
    pub(super) fn number(text: &str) -> Result<(Value, usize), String> {
        let signed = usize::from(text.starts_with(['+', '-']));
        let hex = text[signed..].starts_with("0x") || text[signed..].starts_with("0X");
        let mut end = signed;
        for (at, c) in text.char_indices().skip(signed) {
            let exponent = !hex && matches!(text[..at].chars().last(), Some('e' | 'E'));
            if !(c.is_ascii_alphanumeric() || "._".contains(c) || exponent && "+-".contains(c)) {
                break;
            }
            end = at + c.len_utf8();
        }
        let word = &text[..end];
        let value = Value::parse_int(word).map(Value::Int);
        let float = || word.replace('_', "").parse().ok().map(Value::Float);
        let value = value.or_else(|| word.contains(['.', 'e', 'E']).then(float).flatten());
        let finite = value.filter(|value| !matches!(value, Value::Float(f) if !f.is_finite()));
        finite.map(|value| (value, end)).ok_or_else(|| format!("`{word}` is not a number"))
    }
}
