//! What the verbs print: tables for people, JSON for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

pub use super::dates::iso as time;
use super::exit::{Context, Outcome};

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON document, as the admin API has it.
    Json,
}

/// What a table shows of an object.
pub trait Columns {
    /// The heads of the columns.
    const HEAD: &'static [&'static str];

    /// The cells, as many as there are heads.
    fn cells(&self) -> Vec<String>;
}

impl Format {
    /// Prints a list: one row for each object.
    pub fn list<T: Serialize + Columns>(self, items: &[T]) -> Outcome {
        match self {
            Self::Json => json(&items),
            Self::Table => {
                let rows: Vec<Vec<String>> = items.iter().map(Columns::cells).collect();
                print(&table(T::HEAD, &rows))
            }
        }
    }

    /// Prints one object: one line for each column.
    pub fn show<T: Serialize + Columns>(self, item: &T) -> Outcome {
        match self {
            Self::Json => json(item),
            Self::Table => {
                let width = T::HEAD.iter().map(|head| head.len()).max().unwrap_or(0);
                let line =
                    |(head, cell): (&&str, String)| format!("{:<width$}  {cell}\n", head.to_lowercase());
                print(&T::HEAD.iter().zip(item.cells()).map(line).collect::<String>())
            }
        }
    }

    /// Says that something without an object to show was done.
    pub fn done(self, what: &str) -> Outcome {
        match self {
            Self::Json => Ok(()),
            Self::Table => print(&format!("{what}\n")),
        }
    }
}

/// Prints a JSON document.
pub fn json<T: Serialize>(value: &T) -> Outcome {
    let text = serde_json::to_string_pretty(value).context("the output")?;
    print(&format!("{text}\n"))
}

/// Writes to standard output; a reader that has seen enough is no error.
pub fn print(text: &str) -> Outcome {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(head[column].len())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// `yes` or `no`.
pub fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// The value, or `-`.
pub fn or_dash<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), T::to_string)
}

/// A size as people write it, or `-`.
pub fn size(octets: Option<u64>) -> String {
    or_dash(octets.map(ekitei_config::ByteSize::bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".to_owned(), "bb".to_owned()], vec!["cccc".to_owned(), String::new()]];
        assert_eq!(table(&["X", "Y"], &rows), "X     Y\na     bb\ncccc\n");
    }
}
