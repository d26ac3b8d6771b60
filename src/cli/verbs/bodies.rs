//! `ekitei blob`

use clap::Subcommand;
use ekitei_api::{BlobFinding, BlobGroup, BlobStatus, Client};

use crate::cli::exit::Outcome;
use crate::cli::output::{Columns, Format, json, or_dash, print, time, yes_no};

/// What to do with message bodies.
#[derive(Subcommand)]
pub enum Verb {
    /// Show how many wait in the metadata store, how full segments are, and what checking found.
    Status,
    /// Move all small bodies into segments now, without waiting until they are old or many.
    Pack,
    /// Check all bodies now.
    Scrub,
}

impl Columns for BlobStatus {
    const HEAD: &'static [&'static str] = &[
        "PACKING",
        "OBJECT STORE",
        "HOT BODIES",
        "HOT OCTETS",
        "OLDEST",
        "SEGMENTS",
        "OCTETS",
        "NEEDED",
        "BODIES",
        "COLLECTOR",
        "CHECKING",
        "LAST CHECKED",
        "CHECKED",
        "REPAIRED",
        "FOUND",
    ];

    fn cells(&self) -> Vec<String> {
        let (backlog, scrub) = (&self.backlog, &self.scrub);
        vec![
            yes_no(self.packing),
            if self.away { "does not answer" } else { "answers" }.to_owned(),
            self.hot_bodies.to_string(),
            format!("{} of {}", self.hot_octets, self.hot_limit),
            self.hot_oldest.map_or_else(|| "-".to_owned(), |age| format!("{age}s")),
            self.segments.to_string(),
            self.segment_octets.to_string(),
            share(self.live_octets, self.segment_octets),
            self.live_bodies.to_string(),
            format!(
                "{} bodies, {} objects, {} segments, {} to compact",
                backlog.bodies, backlog.objects, backlog.segments, backlog.hints
            ),
            scrub.phase.clone(),
            or_dash(scrub.ended.map(time).as_ref()),
            format!("{} bodies, {} octets", scrub.bodies, scrub.octets),
            scrub.repaired.to_string(),
            scrub.findings.len().to_string(),
        ]
    }
}

impl Columns for BlobGroup {
    const HEAD: &'static [&'static str] =
        &["GROUP", "HOT BODIES", "HOT OCTETS", "OLDEST", "SEGMENTS", "OCTETS", "NEEDED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.clone(),
            self.hot_bodies.to_string(),
            self.hot_octets.to_string(),
            self.hot_oldest.map_or_else(|| "-".to_owned(), |age| format!("{age}s")),
            self.segments.to_string(),
            self.segment_octets.to_string(),
            share(self.live_octets, self.segment_octets),
        ]
    }
}

impl Columns for BlobFinding {
    const HEAD: &'static [&'static str] = &["FOUND", "NAME", "WHAT"];

    fn cells(&self) -> Vec<String> {
        vec![self.kind.clone(), self.name.clone(), self.what.clone()]
    }
}

/// A part of a whole in percent.
fn share(part: u64, whole: u64) -> String {
    match (part * 100).checked_div(whole) {
        Some(percent) => format!("{percent}%"),
        None => "-".to_owned(),
    }
}

/// Does it.
pub async fn run(client: &Client, format: Format, verb: Verb) -> Outcome {
    match verb {
        Verb::Status => show(format, &client.blob_status().await?),
        Verb::Pack => {
            client.pack_blobs().await?;
            format.done("bodies will be packed; `ekitei blob status` shows how it goes")
        }
        Verb::Scrub => {
            client.scrub_blobs().await?;
            format.done("bodies will be checked; `ekitei blob status` shows how it goes")
        }
    }
}

fn show(format: Format, status: &BlobStatus) -> Outcome {
    if format == Format::Json {
        return json(status);
    }
    format.show(status)?;
    print("\n")?;
    format.list(&status.groups)?;
    if !status.scrub.findings.is_empty() {
        print("\n")?;
        format.list(&status.scrub.findings)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_nothing_is_no_share() {
        assert_eq!(share(1, 3), "33%");
        assert_eq!(share(0, 0), "-");
    }
}
