//! The form of Debian's control files (deb-control(5)): paragraphs of fields.
//!
//! `package` reads dpkg's list with it.

/// One paragraph: fields in their order. The lines of a field are joined by a line feed, and each
/// loses the blank at its beginning.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Paragraph(Vec<(String, String)>);

impl Paragraph {
    /// Returns the value of a field. The case of names does not count.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Returns the paragraphs of a text. A line that is no field is passed over: these files come from
/// packages, and nothing depends on them.
pub(super) fn paragraphs(text: &str) -> Vec<Paragraph> {
    let mut all = vec![Paragraph::default()];
    for line in text.lines() {
        let Some(Paragraph(fields)) = all.last_mut() else { break };
        if line.trim().is_empty() {
            if !fields.is_empty() {
                all.push(Paragraph::default());
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line[1..].trim_end());
            }
        } else if line.starts_with('#') {
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.to_owned(), value.trim().to_owned()));
        }
    }
    all.retain(|paragraph| !paragraph.0.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_go_over_lines_and_paragraphs_end_at_empty_ones() {
        let text = "A: 1\nb:\n two\n  three\n\n\n# no field\nnoise\nA: 4\n";
        let found = paragraphs(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].get("a"), found[0].get("B"), found[0].get("c"), found[1].get("A")),
            (Some("1"), Some("\ntwo\n three"), None, Some("4"))
        );
    }
}
