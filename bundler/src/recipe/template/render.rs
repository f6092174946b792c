//! Renders one file: text and variables in, text and the origin of its lines out.
//!
//! `parse` reads the template, and `eval` executes it.

use std::collections::BTreeMap;

use crate::recipe::template::outcome::{Rendered, TemplateError};
use crate::recipe::template::{eval, parse};

/// Renders a template over the variables that `-t` or a `recipe` action give.
///
/// # Errors
/// The template is not one, or a function refuses its arguments.
pub(in crate::recipe) fn render(
    template: &str,
    variables: &BTreeMap<String, String>,
) -> Result<Rendered, TemplateError> {
    if !template.contains("{{") {
        let lines = (1..=template.split('\n').count()).collect();
        let (missing, asked) = (Vec::new(), Vec::new());
        return Ok(Rendered { text: template.to_owned(), lines, missing, asked });
    }
    eval::execute(&parse::parse(template)?, variables)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The variables of tests/templates/oracle.go.
    fn variables() -> BTreeMap<String, String> {
        let pairs = [
            ("architecture", "arm64"),
            ("empty", ""),
            ("name", "World"),
            ("number", "3"),
            ("list", "b,a,c,a"),
            ("text", "it's a \"word\""),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn every_template_gives_what_go_gives() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates");
        let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
        names.retain(|path| path.extension().is_some_and(|ending| ending == "tmpl"));
        names.sort();
        assert!(names.len() >= 10, "{}", names.len());
        for path in names {
            let wanted = fs::read_to_string(path.with_extension("out")).unwrap();
            let template = fs::read_to_string(&path).unwrap();
            match render(&template, &variables()) {
                Ok(rendered) => assert_eq!(rendered.text, wanted, "{}", path.display()),
                Err(error) => panic!("{}:{}: {}", path.display(), error.line, error.message),
            }
        }
        for line in fs::read_to_string(dir.join("wrong.txt")).unwrap().lines() {
            let error = render(line, &variables()).map(|rendered| rendered.text);
            assert_eq!(error.map_err(|error| error.line), Err(1), "{line}");
        }
    }

    #[test]
    fn each_line_of_the_text_knows_its_line_in_the_template() {
        let template = "a\n{{- if true }}\n{{ $x := \"p\\nq\" }}\n  b: {{ $x }}\n{{- end }}\nc\n";
        let rendered = render(template, &BTreeMap::new()).unwrap();
        assert_eq!(rendered.text, "a\n\n  b: p\nq\nc\n");
        assert_eq!(rendered.lines[..5], [1, 3, 4, 4, 6]);
    }

    #[test]
    fn a_variable_that_nobody_gave_is_named_with_its_line() {
        let template = "{{ or .a 1 }}\n{{ if .b }}{{ end }}\n{{ $c := .c }}{{ $c }}\n\
                        {{ printf \"%s\" .d }}";
        let rendered = render(template, &BTreeMap::new()).unwrap();
        assert_eq!(rendered.missing, [("c".to_owned(), 3), ("d".to_owned(), 4)]);
    }

    #[test]
    fn functions_of_debos_and_the_time_are_there() {
        let escape = render("{{ escape \"a b'c\" }} {{ escape \"plain\" }}", &BTreeMap::new());
        assert_eq!(escape.unwrap().text, "'a b'\"'\"'c' plain");
        let uuid = "{{ uuid5 \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\" \"example.org\" }}";
        let uuid = render(uuid, &BTreeMap::new()).unwrap().text;
        assert_eq!(uuid, "aad03681-8b63-5304-89e0-8ca8f49461b5");
        let date = render("{{ 1754697600 | date \"2006-01-02T15:04:05\" }}", &BTreeMap::new());
        assert_eq!(date.unwrap().text, "2025-08-09T00:00:00");
    }

    #[test]
    fn a_template_that_does_not_end_is_refused() {
        let endless = "{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}";
        let error = render(endless, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.message, "the template `a` calls itself without end");
        let nested = "{{ range until 90000 }}{{ range until 90000 }}x{{ end }}{{ end }}";
        let error = render(nested, &BTreeMap::new()).unwrap_err();
        assert!(error.message.contains("does not end"), "{}", error.message);
        let error = render(&format!("{{{{ {} }}}}", "(".repeat(5000)), &BTreeMap::new());
        assert!(error.unwrap_err().message.contains("levels"));
    }
}
