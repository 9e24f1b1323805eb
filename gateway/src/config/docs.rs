//! The configuration reference, made from the doc comments of the raw sections.
//!
//! One source of truth: the text that a reader of the code sees is the text that an operator sees. A test
//! compares the committed `docs/configuration.md` with what this module makes.

use std::fmt::Write as _;

const RAW: &str = include_str!("raw.rs");

/// The reference as Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Configuration\n\nMade from the doc comments in `gateway/src/config/raw.rs`; regenerate with \
         `sluicegate check --reference > gateway/docs/configuration.md`.\n",
    );
    let mut doc = String::new();
    let mut in_struct = false;
    for line in RAW.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc.push_str(text);
            doc.push(' ');
        } else if line.starts_with("pub(super) struct") {
            in_struct = doc.starts_with('`');
            if in_struct {
                let _ = write!(out, "\n## {}\n\n", capitalised_heading(doc.trim()));
            }
            doc.clear();
        } else if let (true, Some(field)) = (in_struct, line.strip_prefix("pub ")) {
            if let Some((name, _)) = field.split_once(':') {
                let _ = writeln!(out, "- **`{name}`**: {}", doc.trim());
            }
            doc.clear();
        } else if line == "}" {
            in_struct = false;
            doc.clear();
        } else if !line.starts_with('#') {
            doc.clear();
        }
    }
    out
}

/// "`[server]`: the data plane." as a heading.
fn capitalised_heading(doc: &str) -> String {
    let (section, text) = doc.split_once(": ").unwrap_or((doc, ""));
    let text = text.trim_end_matches('.');
    if text.is_empty() { section.to_owned() } else { format!("{section}: {text}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_reference_is_current() {
        let committed = include_str!("../../docs/configuration.md");
        assert!(
            committed == super::reference(),
            "run: cargo run -q -- check --reference > gateway/docs/configuration.md"
        );
    }
}
