//! The authors of a message (RFC 5322 §3.6.2).
//!
//! Readers differ in what they make of a From field that is not well-formed: blanks within a domain, two addresses without a comma. Who wants to pass for
//! somebody shows the checks one author and the reader another. So every domain counts that some reader may take for an author's, but what stands
//! before an address in brackets, which is a name.

use mail_auth::AuthenticatedMessage;

use super::a_labels;
use crate::results::{quoted, skip_comment};

/// The most domains of authors that are told apart; a message with so many has too many.
pub(crate) const MAX_DOMAINS: usize = 5;

/// The domains of the authors, each once, as A-labels. One that is only a label counts only if there is no other.
pub(crate) fn domains(message: &AuthenticatedMessage<'_>) -> Vec<String> {
    let fields = message.raw_parsed_headers().iter().filter(|(name, _)| is_from(name));
    let read = fields.flat_map(|(_, value)| written(&String::from_utf8_lossy(value)));
    let parsed = message.froms().iter().filter_map(|address| Some(address.rsplit_once('@')?.1.to_owned()));
    let (mut found, mut label) = (Vec::new(), None);
    for domain in read.chain(parsed) {
        let domain = a_labels(&domain.split_whitespace().collect::<String>());
        if !is_name(&domain) || found.contains(&domain) {
            continue;
        }
        if domain.contains('.') {
            found.push(domain);
        } else {
            label = Some(domain);
        }
        if found.len() == MAX_DOMAINS {
            break;
        }
    }
    found.extend(label.filter(|_| found.is_empty()));
    found
}

fn is_from(name: &[u8]) -> bool {
    let name = name.iter().filter(|octet| !octet.is_ascii_whitespace());
    name.map(u8::to_ascii_lowercase).eq(*b"from")
}

/// Whether DNS can have a record of it.
fn is_name(domain: &str) -> bool {
    let octet = |octet: u8| octet.is_ascii_alphanumeric() || b"-_".contains(&octet);
    domain.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(octet))
}

/// The domains in the value of a field.
fn written(value: &str) -> Vec<String> {
    let text = without_quotes(value);
    let addresses =
        text.split([',', ';']).map(|mailbox| mailbox.find('<').map_or(mailbox, |at| &mailbox[at..]));
    addresses.flat_map(domains_in).collect()
}

/// The text without comments, and with a letter for each quoted string. One that does not end is read as what it is made of.
fn without_quotes(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    let mut ends = true;
    while let Some(c) = chars.next() {
        let mut ahead = chars.clone();
        let (end, instead) = match c {
            '"' if ends => (quoted(&mut ahead, &mut String::new()), 'x'),
            '(' if ends => (skip_comment(&mut ahead), ' '),
            _ => {
                text.push(c);
                continue;
            }
        };
        ends = end.is_some();
        if ends {
            chars = ahead;
        }
        text.push(instead);
    }
    text
}

/// What follows each `@`, but those of a source route, which have nothing in front.
fn domains_in(address: &str) -> Vec<String> {
    let mut parts = address.split('@');
    let mut before = parts.next().unwrap_or_default();
    let mut domains = Vec::new();
    for part in parts {
        let local = before.trim_end();
        if !local.is_empty() && !local.ends_with(['<', ':']) {
            domains.push(domain_at(part));
        }
        before = part;
    }
    domains
}

/// The domain that a text begins with. Blanks around its dots do not end it (RFC 5322 §4.4).
fn domain_at(text: &str) -> String {
    let text = text.split(['<', '>', ':']).next().unwrap_or_default();
    let mut domain = String::new();
    for word in text.split_whitespace() {
        if !domain.is_empty() && !domain.ends_with('.') && !word.starts_with('.') {
            break;
        }
        domain.push_str(word);
    }
    domain
}
