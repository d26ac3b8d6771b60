//! Which entries an administrator means.

use std::time::Duration;

use ekitei_directory::AccountId;

use crate::model::{EntryRow, MessageRow, Place, QueueId, RecipientState, Schedule};
use crate::{Category, Error, Result};

/// What an entry has to be like; all that is given has to fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The reverse-path: an address, `@domain` for all of a domain, or `<>`.
    pub sender: Option<String>,
    /// A recipient that still waits: an address, or `@domain`.
    pub recipient: Option<String>,
    /// The destination domain, as A-labels.
    pub destination: Option<String>,
    /// What the last failure of a recipient was: an enhanced status code or its beginning (`4.4.1`, `4.4.`), a reply code (`451`), a [`Category`], or some of the text.
    pub error: Option<String>,
    /// In the queue for at least so long.
    pub older_than: Option<Duration>,
    /// In the queue for less than that.
    pub newer_than: Option<Duration>,
    /// Where it waits.
    pub state: Option<State>,
    /// Who submitted it.
    pub account: Option<AccountId>,
}

/// Where an entry waits, for filters and figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// To be tried as soon as may be, or being tried.
    Active,
    /// For its next attempt.
    Deferred,
    /// Held by an administrator.
    Held,
}

impl State {
    pub(crate) fn of(schedule: Schedule) -> Self {
        match schedule {
            Schedule::Fresh => Self::Active,
            Schedule::At(_) => Self::Deferred,
            Schedule::Held => Self::Held,
        }
    }

    pub(crate) fn of_place(place: Place) -> Self {
        match place {
            Place::Fresh(_) => Self::Active,
            Place::Due(_) => Self::Deferred,
            Place::Held => Self::Held,
        }
    }
}

impl Filter {
    /// Whether nothing is given: everything fits.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what is read has to be looked at to tell if it fits.
    pub(crate) fn is_selective(&self) -> bool {
        let selective = [&self.sender, &self.recipient, &self.error].into_iter().any(Option::is_some);
        selective || self.state.is_some() || self.account.is_some()
    }

    /// The ids that fit the ages, `start` included and `end` not: ids begin with the time of arrival.
    pub(crate) fn ids(&self, now: Duration) -> (QueueId, Option<QueueId>) {
        let at = |age: Duration| QueueId::first_of(now.saturating_sub(age));
        let start = self.newer_than.map_or(QueueId([0; 16]), |age| at(age).after_millisecond());
        (start, self.older_than.map(|age| at(age).after_millisecond()))
    }

    /// Whether an entry fits, apart from its age and destination, which the scan sees to.
    pub(crate) fn fits(&self, message: &MessageRow, entry: &EntryRow) -> bool {
        let sender = || message.envelope.reverse_path.as_deref().unwrap_or("<>");
        let waiting = || entry.waiting().map(|(_, row)| row);
        self.sender.as_deref().is_none_or(|wanted| address_fits(wanted, sender()))
            && self.account.is_none_or(|account| message.account == Some(account))
            && self.state.is_none_or(|state| State::of(entry.schedule) == state)
            && self
                .recipient
                .as_deref()
                .is_none_or(|wanted| waiting().any(|row| address_fits(wanted, &row.recipient.address)))
            && self.error.as_deref().is_none_or(|wanted| waiting().any(|row| error_fits(wanted, &row.state)))
    }

    /// Brings what was given into the form that is compared.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it can fit nothing.
    pub(crate) fn normalised(mut self) -> Result<Self> {
        if let Some(destination) = &mut self.destination {
            let domain = ekitei_directory::Domain::parse(destination);
            *destination = domain.map_err(|error| Error::Invalid(error.to_string()))?.as_ascii().to_owned();
        }
        for (name, address) in [("sender", &self.sender), ("recipient", &self.recipient)] {
            if address.as_deref().is_some_and(|address| address != "<>" && !address.contains('@')) {
                return Err(Error::Invalid(format!("the {name} is an address or @domain")));
            }
        }
        if self.error.as_deref() == Some("") {
            return Err(Error::Invalid("the error to look for is empty".to_owned()));
        }
        Ok(self)
    }
}

fn address_fits(wanted: &str, address: &str) -> bool {
    let (wanted, address) = (wanted.to_lowercase(), address.to_lowercase());
    if wanted.starts_with('@') { address.ends_with(&wanted) } else { address == wanted }
}

fn error_fits(wanted: &str, state: &RecipientState) -> bool {
    let RecipientState::Waiting { last: Some(failure) } = state else { return false };
    let is_code = wanted.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    if is_code {
        let status = failure.status.to_string();
        let code = failure.code.map(|code| code.to_string());
        return status == wanted
            || (wanted.ends_with('.') && status.starts_with(wanted))
            || code.as_deref() == Some(wanted);
    }
    let wanted = wanted.to_lowercase();
    Category::of(failure).as_str() == wanted || failure.text.to_lowercase().contains(&wanted)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ekitei_relay::{Failure, FailureKind, Status};

    use super::*;

    #[test]
    fn addresses_fit_whole_or_by_domain() {
        assert!(address_fits("Bob@A.example", "bob@a.example"));
        assert!(address_fits("@a.example", "bob@A.example"));
        assert!(!address_fits("@a.example", "bob@sub.a.example"));
        assert!(!address_fits("b@a.example", "bob@a.example"));
        assert!(address_fits("<>", "<>") && !address_fits("<>", "bob@a.example"));
    }

    #[test]
    fn errors_fit_by_status_code_or_text() {
        let failure = Failure {
            kind: FailureKind::Host,
            status: Status(4, 4, 10),
            code: Some(451),
            text: "Greylisted, come back".to_owned(),
            remote: None,
        };
        let state = RecipientState::Waiting { last: Some(failure) };
        for wanted in ["4.4.10", "4.4.", "451", "greylisted"] {
            assert!(error_fits(wanted, &state), "{wanted}");
        }
        for wanted in ["4.4.1", "4.5.", "450", "refused"] {
            assert!(!error_fits(wanted, &state), "{wanted}");
        }
        assert!(!error_fits("4.4.10", &RecipientState::Waiting { last: None }));
        let failure = Failure {
            kind: FailureKind::Tls,
            status: Status(4, 7, 5),
            code: None,
            text: "the certificate expired".to_owned(),
            remote: None,
        };
        assert!(error_fits("TLS", &RecipientState::Waiting { last: Some(failure) }), "by its category");
    }

    #[test]
    fn ages_become_ranges_of_ids() {
        let now = Duration::from_secs(1_000_000);
        let old = QueueId::first_of(now - Duration::from_secs(3600));
        let young = QueueId::first_of(now - Duration::from_secs(60));
        let hour = Duration::from_secs(3600);
        let (start, end) = Filter { older_than: Some(hour), ..Filter::default() }.ids(now);
        assert!(start <= old && old < end.unwrap() && young >= end.unwrap());
        let (start, end) = Filter { newer_than: Some(hour), ..Filter::default() }.ids(now);
        assert!(start > old && start <= young && end.is_none());
    }
}
