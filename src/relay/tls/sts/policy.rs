//! The text of MTA-STS: the TXT record and the policy (RFC 8461 §3.1, §3.2).

use std::time::Duration;

/// The longest time a policy may be kept (RFC 8461 §3.2: 31,557,600 seconds).
const LONGEST: u64 = 31_557_600;

/// What a domain asks of those who send mail to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What to do about hosts that do not comply.
    pub mode: Mode,
    /// How long it may be kept.
    pub max_age: Duration,
    /// Patterns of host names in lower case: `mx.example.org`, `*.example.org`.
    pub mx: Vec<String>,
    /// The lines, as RFC 8460 §4.4 wants them in reports.
    pub lines: Vec<String>,
}

/// What to do about hosts that do not comply (RFC 8461 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Send them no mail.
    Enforce,
    /// Report them, and send them mail.
    Testing,
    /// As if there were no policy.
    None,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the MTA-STS policy is not valid: {0}")]
pub struct PolicyError(&'static str);

impl Policy {
    /// Reads a policy. Lines may end with CR LF or LF; unknown keys are ignored, and of a repeated one other than `mx` the first counts.
    ///
    /// # Errors
    /// It lacks something or has it wrong.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        let lines: Vec<&str> = text
            .split('\n')
            .map(|line| line.trim_end_matches('\r'))
            .filter(|line| !line.trim().is_empty())
            .collect();
        for line in &lines {
            let (key, value) = line.split_once(':').ok_or(PolicyError("a line has no colon"))?;
            let (key, value) = (key.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
            match key {
                "version" => version = version.or(Some(value)),
                "mode" => mode = mode.or(Some(value)),
                "max_age" => max_age = max_age.or(Some(value)),
                "mx" => mx.push(value.trim_end_matches('.').to_ascii_lowercase()),
                _ => {}
            }
        }
        if version != Some("STSv1") {
            return Err(PolicyError("its version is not STSv1"));
        }
        let mode = match mode {
            Some("enforce") => Mode::Enforce,
            Some("testing") => Mode::Testing,
            Some("none") => Mode::None,
            _ => return Err(PolicyError("its mode is none of enforce, testing, none")),
        };
        let digits = max_age.filter(|value| {
            (1..=10).contains(&value.len()) && value.bytes().all(|digit| digit.is_ascii_digit())
        });
        let seconds: u64 = digits
            .and_then(|value| value.parse().ok())
            .ok_or(PolicyError("max_age is not a number of seconds"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(PolicyError("it names no mx"));
        }
        if !mx.iter().all(|pattern| is_pattern(pattern)) {
            return Err(PolicyError("an mx is neither a host name nor one after \"*.\""));
        }
        let lines = lines.into_iter().map(|line| line.trim().to_owned()).collect();
        Ok(Self { mode, max_age: Duration::from_secs(seconds.min(LONGEST)), mx, lines })
    }

    /// Whether a host, by its name in lower case, is one of the policy (RFC 8461 §4.1).
    pub fn allows(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| match pattern.strip_prefix("*.") {
            Some(parent) => {
                host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == parent)
            }
            None => pattern == host,
        })
    }
}

fn is_pattern(pattern: &str) -> bool {
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    !name.contains('*') && ekitei_dns::normalize(name).is_ok_and(|normal| normal == name)
}

/// The id in the TXT records at `_mta-sts` (RFC 8461 §3.1): of exactly one that begins with the version; others do not count, and of several none does.
pub fn record_id(records: &[String]) -> Option<String> {
    let mut ours = records.iter().filter(|record| fields(record).next() == Some(("v", "STSv1")));
    let (record, None) = (ours.next()?, ours.next()) else { return None };
    let id = fields(record).find(|(key, _)| *key == "id").map(|(_, value)| value)?;
    let valid = (1..=32).contains(&id.len()) && id.bytes().all(|octet| octet.is_ascii_alphanumeric());
    valid.then(|| id.to_owned())
}

fn fields(record: &str) -> impl Iterator<Item = (&str, &str)> {
    record.split(';').filter_map(|field| field.split_once('=')).map(|(key, value)| (key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n";

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let policy = Policy::parse(GOOD).unwrap();
        assert_eq!((policy.mode, policy.max_age.as_secs(), policy.lines.len()), (Mode::Enforce, 604_800, 6));
        assert_eq!(Policy::parse(&GOOD.replace("\r\n", "\n")).unwrap().mx, policy.mx);
        assert_eq!(
            Policy::parse("version: STSv1\nmode: none\nmax_age: 99999999999\n"),
            Err(PolicyError("max_age is not a number of seconds"))
        );
        assert_eq!(
            Policy::parse("version: STSv1\nmode: none\nmax_age: 9999999999\nnew-key: x")
                .unwrap()
                .max_age
                .as_secs(),
            LONGEST
        );
    }

    #[test]
    fn a_star_stands_for_exactly_one_label() {
        let policy = Policy::parse(GOOD).unwrap();
        for (host, allowed) in [
            ("mail.example.com", true),
            ("a.example.net", true),
            ("a.b.example.net", false),
            ("example.net", false),
            (".example.net", false),
            ("xmail.example.com", false),
            ("mail.example.com.attacker.example", false),
        ] {
            assert_eq!(policy.allows(host), allowed, "{host}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for (from, to) in [
            ("STSv1", "STSv2"),
            ("enforce", "Enforce"),
            ("604800", "-1"),
            ("604800", ""),
            ("max_age: 604800", ""),
            ("mode: enforce", "mode enforce"),
            ("*.example.net", "*example.net"),
            ("*.example.net", "a.*.net"),
            ("*.example.net", ""),
        ] {
            assert!(Policy::parse(&GOOD.replace(from, to)).is_err(), "{from} -> {to}");
        }
        assert!(Policy::parse("version: STSv1\nmode: enforce\nmax_age: 1").is_err());
        assert!(Policy::parse("<html>").is_err());
        assert!(Policy::parse("").is_err());
    }

    #[test]
    fn the_record_has_one_id() {
        let id = |records: &[&str]| {
            record_id(&records.iter().map(|record| (*record).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(id(&["v=STSv1; id=20160831085700Z;"]).as_deref(), Some("20160831085700Z"));
        assert_eq!(id(&["other", "v=STSv1;id=1"]).as_deref(), Some("1"));
        for none in [
            &["v=STSv1; id=1", "v=STSv1; id=2"][..],
            &["v=STSv1;"],
            &["id=1; v=STSv1"],
            &["v=STSv1; id=a-b"],
            &[],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
    }
}
