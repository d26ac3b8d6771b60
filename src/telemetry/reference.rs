//! Metrics as `docs/metrics.md` lists them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::metrics::Declared;

/// What all names begin with.
const PREFIX: &str = "ekitei_";

/// Tables of metrics, one for each word that names begin with after `ekitei_`: the part of the program that they are of.
pub fn metrics_markdown(declared: &[Declared]) -> String {
    let mut parts: BTreeMap<&str, Vec<&Declared>> = BTreeMap::new();
    for metric in declared {
        let rest = metric.name.strip_prefix(PREFIX).unwrap_or(&metric.name);
        parts.entry(rest.split('_').next().unwrap_or(rest)).or_default().push(metric);
    }
    let mut text = String::new();
    for (part, metrics) in parts {
        let _ = write!(
            text,
            "\n### `{PREFIX}{part}`\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
        );
        for Declared { name, kind, labels, help } in metrics {
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{name}` | {kind} | {} | {} |",
                labels.join(", "),
                help.replace('|', "\\|")
            );
        }
    }
    text
}

/// `page` with what is between `<!-- section -->` and `<!-- end of section -->` replaced; `None` if it has no such section.
pub fn replace_section(page: &str, section: &str, content: &str) -> Option<String> {
    let begin = format!("<!-- {section} -->\n");
    let from = page.find(&begin)? + begin.len();
    let to = from + page.get(from..)?.find(&format!("<!-- end of {section} -->"))?;
    Some([page.get(..from)?, content, page.get(to..)?].concat())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{metrics_markdown, replace_section};
    use crate::Registry;

    #[test]
    fn metrics_are_listed_by_what_they_belong_to() {
        let registry = Registry::new();
        registry.counters("smtp_things_total", "Things.", &["kind", "colour"]);
        registry.gauge("imap_open", "Open things.");
        let text = metrics_markdown(&registry.declared());
        let (imap, smtp) = (text.find("### `ekitei_imap`").unwrap(), text.find("### `ekitei_smtp`").unwrap());
        assert!(imap < smtp);
        assert!(
            text.contains("| `ekitei_smtp_things_total` | counter | `kind`, `colour` | Things. |\n"),
            "{text}"
        );
        assert!(text.contains("| `ekitei_imap_open` | gauge |  | Open things. |\n"), "{text}");
    }

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        assert_eq!(replace_section(page, "x", "new\n").unwrap(), page.replace("old", "new"));
        assert_eq!(replace_section(page, "y", "new\n"), None);
    }
}
