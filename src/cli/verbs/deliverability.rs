//! `ekitei doctor <domain>`: what receivers see of a domain.

use ekitei_api::{Client, DeliverabilityFinding, DeliverabilityVerdict};

use crate::cli::exit::{Code, Failure, Outcome};
use crate::cli::output::{Columns, Format, json, print};

impl Columns for DeliverabilityFinding {
    const HEAD: &'static [&'static str] = &["STATUS", "RECORD", "FOUND"];

    fn cells(&self) -> Vec<String> {
        let status = match self.verdict {
            DeliverabilityVerdict::Right => "right",
            DeliverabilityVerdict::Advice => "advice",
            DeliverabilityVerdict::Wrong => "WRONG",
            DeliverabilityVerdict::Unknown => "unknown",
        };
        vec![status.to_owned(), self.name.clone(), self.detail.clone()]
    }
}

/// Prints what was found, and what to publish; fails if anything is wrong.
pub async fn run(client: &Client, format: Format, domain: &str) -> Outcome {
    let report = client.deliverability(domain).await?;
    if format == Format::Json {
        json(&report)?;
    } else {
        format.list(&report.findings)?;
        print(&to_publish(&report.findings))?;
    }
    let wrong =
        report.findings.iter().filter(|finding| finding.verdict == DeliverabilityVerdict::Wrong).count();
    if wrong > 0 {
        return Err(Failure::new(
            Code::Failure,
            format!("{wrong} of {} findings are wrong", report.findings.len()),
        ));
    }
    Ok(())
}

/// What to publish, as a piece of a zone file with the reasons as comments.
fn to_publish(findings: &[DeliverabilityFinding]) -> String {
    let mut text = String::new();
    for finding in findings.iter().filter(|finding| !finding.publish.is_empty()) {
        let first = if text.is_empty() { "\n; To publish:\n" } else { "" };
        text.push_str(&format!("{first}; {}\n{}\n", finding.name, finding.publish.join("\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_publish_is_a_piece_of_a_zone_file() {
        let finding = |name: &str, publish: &[&str]| DeliverabilityFinding {
            name: name.to_owned(),
            verdict: DeliverabilityVerdict::Wrong,
            detail: String::new(),
            publish: publish.iter().map(|line| (*line).to_owned()).collect(),
        };
        let findings = [
            finding("MX", &["a.test. IN MX 10 mx.a.test."]),
            finding("SPF", &[]),
            finding("CAA", &["x", "y"]),
        ];
        assert_eq!(
            to_publish(&findings),
            "\n; To publish:\n; MX\na.test. IN MX 10 mx.a.test.\n; CAA\nx\ny\n"
        );
        assert_eq!(to_publish(&findings[1..2]), "");
    }
}
