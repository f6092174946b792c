//! Paths and string literals in the tokens of a macro.
//!
//! syn does not parse what a macro takes, so this file looks for `a::b::c` by itself. It leaves out
//! fields and methods (after a dot), lifetimes, doc comments, and the rest of a path that starts
//! with a type.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use syn::Lit;

/// What the tokens hold.
#[derive(Default)]
pub(crate) struct Found {
    /// Each path, and its line.
    pub(crate) paths: Vec<(Vec<String>, usize)>,
    /// Each string literal's value, and its line.
    pub(crate) strings: Vec<(String, usize)>,
}

/// Looks through `tokens` and the groups inside them.
pub(crate) fn find(tokens: TokenStream, found: &mut Found) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let before = &tokens[..at];
        match token {
            TokenTree::Ident(_) => {
                let (path, len) = path(&tokens[at..]);
                at += len;
                if !continues(before) {
                    found.paths.push((path, token.span().start().line));
                }
                continue;
            }
            TokenTree::Literal(literal) => {
                if let Lit::Str(string) = Lit::new(literal.clone()) {
                    found.strings.push((string.value(), token.span().start().line));
                }
            }
            TokenTree::Group(group) => {
                let doc = group.delimiter() == Delimiter::Bracket
                    && group.stream().into_iter().next().is_some_and(|t| t.to_string() == "doc");
                if !doc {
                    find(group.stream(), found);
                }
            }
            TokenTree::Punct(_) => {}
        }
        at += 1;
    }
}

/// The path at the start of `tokens`, and how many tokens it takes.
fn path(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    let mut len = 0;
    while let Some(TokenTree::Ident(name)) = tokens.get(len) {
        path.push(name.to_string());
        len += 1;
        if !is_colons(tokens.get(len..len + 2)) {
            break;
        }
        len += 2;
    }
    (path, len)
}

/// Whether what follows `before` is a field, a method, a lifetime or the rest of a path.
fn continues(before: &[TokenTree]) -> bool {
    let punct = |back: usize| match before.len().checked_sub(back).map(|at| &before[at]) {
        Some(TokenTree::Punct(punct)) => Some(punct.as_char()),
        _ => None,
    };
    match punct(1) {
        Some('.') => punct(2) != Some('.'),
        Some('\'') => true,
        Some(':') => is_colons(before.len().checked_sub(2).map(|at| &before[at..])),
        _ => false,
    }
}

fn is_colons(two: Option<&[TokenTree]>) -> bool {
    matches!(two, Some([TokenTree::Punct(a), TokenTree::Punct(b)])
        if a.as_char() == ':' && a.spacing() == Spacing::Joint && b.as_char() == ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_a_macro_are_found_and_fields_are_not() {
        let mut found = Found::default();
        let tokens = r#"self::a::B(x.y), 0..c, <T>::d, #[doc = "no"] "yes {}", crate::e::f!()"#;
        find(tokens.parse().unwrap(), &mut found);
        let paths: Vec<_> = found.paths.iter().map(|(path, _)| path.join("::")).collect();
        assert_eq!(paths, ["self::a::B", "x", "c", "T", "crate::e::f"]);
        assert_eq!(found.strings, [("yes {}".to_owned(), 1)]);
    }
}
