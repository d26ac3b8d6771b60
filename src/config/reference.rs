//! The reference of all keys, made from the types.

use std::fmt::Write;

use crate::reload::is_live;
use crate::schema::{Schema, Shape};
use crate::yaml;

/// What stands before the tables.
const INTRODUCTION: &str = include_str!("reference_intro.md");

/// The whole reference as Markdown: what `ekitei config reference` prints and what `docs/configuration.md` holds.
pub fn reference_markdown() -> String {
    let mut text = INTRODUCTION.to_owned();
    let root = Schema::of_config();
    // Plain keys of the root come first, so that every other heading is a section.
    section(&mut text, &root, "", "Top level");
    text
}

/// One section with a table of its keys, and after it the sections below it.
fn section(text: &mut String, schema: &Schema, path: &str, title: &str) {
    let level = "#".repeat(2 + path.matches('.').count());
    let _ = write!(text, "\n{level} {title}\n\n{}\n", schema.type_description());
    let mut below = Vec::new();
    let mut rows = String::new();
    for (key, node) in schema.keys() {
        // The heading says which `kind` this is.
        if node.is_constant() {
            continue;
        }
        let place = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        row(&mut rows, &key, &node, &place);
        collect_below(&node, &place, &mut below);
    }
    if !rows.is_empty() {
        let _ = write!(text, "\n| Key | Type | Default | Meaning | Reload |\n|---|---|---|---|---|\n{rows}");
    }
    for (place, node) in below {
        match node.shape() {
            Shape::Tagged(variants) => tagged(text, &node, &place, &variants),
            _ => section(text, &node, &place, &format!("`{place}`")),
        }
    }
}

/// A section whose keys depend on `kind`: one table for each kind.
fn tagged(text: &mut String, schema: &Schema, path: &str, variants: &[(String, Schema)]) {
    let _ = write!(text, "\n## `{path}`\n\n{}\n", schema.type_description());
    for (kind, variant) in variants {
        section(text, variant, &format!("{path}.kind: {kind}"), &format!("`{path}` with `kind: {kind}`"));
    }
}

/// Remembers the section that a key leads to, if it does.
fn collect_below(node: &Schema, place: &str, below: &mut Vec<(String, Schema)>) {
    match node.shape() {
        Shape::Section(_) | Shape::Tagged(_) => below.push((place.to_owned(), node.clone())),
        Shape::Optional(inner) => collect_below(&inner, place, below),
        Shape::List(item) => collect_below(&item, &format!("{place}[]"), below),
        _ => {}
    }
}

fn row(rows: &mut String, key: &str, node: &Schema, place: &str) {
    let shape = node.shape();
    let mut meaning = node.description();
    let choices = node.choices();
    if matches!(&shape, Shape::OneOf(names) if names.len() > 1) {
        let list: Vec<String> = choices
            .iter()
            .map(|(name, about)| format!("`{name}`: {}", about.trim_end_matches('.')))
            .collect();
        let _ = write!(meaning, " {}.", list.join("; "));
    }
    let reload = match shape {
        Shape::Section(_) | Shape::Tagged(_) => "see below",
        _ if is_live(&place.replace("[]", "")) => "yes",
        _ => "restart",
    };
    let _ = writeln!(
        rows,
        "| `{key}` | {} | {} | {} | {reload} |",
        type_name(&shape),
        default_text(node, &shape),
        meaning.trim().replace('|', "\\|"),
    );
}

fn type_name(shape: &Shape) -> String {
    match shape {
        Shape::Section(_) | Shape::Tagged(_) => "section".to_owned(),
        Shape::Optional(inner) => type_name(&inner.shape()),
        Shape::List(item) => format!("list of {}", plural(&type_name(&item.shape()))),
        Shape::OneOf(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        Shape::Boolean => "`true`, `false`".to_owned(),
        Shape::Integer { minimum, maximum } if *maximum < i64::from(i32::MAX) => {
            format!("{minimum} to {maximum}")
        }
        Shape::Integer { minimum, .. } if *minimum > 0 => format!("number from {minimum}"),
        Shape::Integer { .. } => "number".to_owned(),
        Shape::Text(format) => match format.as_str() {
            "" => "text",
            "byte-size" => "size",
            "cidr" => "network",
            "socket-address" => "address:port",
            "endpoint" => "socket",
            other => other,
        }
        .to_owned(),
    }
}

fn plural(name: &str) -> String {
    format!("{name}s")
}

fn default_text(node: &Schema, shape: &Shape) -> String {
    match (shape, node.default()) {
        (Shape::Section(_) | Shape::Tagged(_), _) => "see below".to_owned(),
        (_, None) => "required".to_owned(),
        (_, Some(serde_json::Value::Null)) => "none".to_owned(),
        (Shape::List(_), Some(serde_json::Value::Array(items)))
            if !items.is_empty() && items.iter().all(serde_json::Value::is_string) =>
        {
            let items: Vec<&str> = items.iter().filter_map(serde_json::Value::as_str).collect();
            format!("`[{}]`", items.join(", "))
        }
        (_, Some(value)) => {
            let written = yaml::write(value).unwrap_or_default();
            match written.trim() {
                "''" => "empty".to_owned(),
                text => format!("`{}`", text.trim_matches('\'')),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::reference_markdown;

    #[test]
    fn the_file_in_docs_is_this_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let reference = reference_markdown();
        if std::env::var_os("EKITEI_WRITE_DOCS").is_some() {
            std::fs::write(path, &reference).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == reference,
            "docs/configuration.md is not up to date: EKITEI_WRITE_DOCS=1 cargo test -p ekitei-config writes it"
        );
    }

    #[test]
    fn the_example_is_a_configuration_without_a_doubt() {
        let reference = reference_markdown();
        let example = reference.split("```").nth(1).and_then(|text| text.strip_prefix("yaml\n")).unwrap();
        let example = example.replace("file:/etc/ekitei/admin-token", "${TOKEN}");
        let config = crate::Config::parse(&example, &|_| Some("0123456789abcdef".to_owned())).unwrap();
        assert_eq!(config.check(), []);
    }

    #[test]
    fn every_key_says_what_it_means() {
        let reference = reference_markdown();
        let rows: Vec<&str> = reference.lines().filter(|line| line.starts_with("| `")).collect();
        assert!(rows.len() > 100, "{} keys", rows.len());
        for row in rows {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells.len() >= 5 && cells.iter().all(|cell| !cell.trim().is_empty()), "{row}");
        }
    }
}
