//! How much a client may get wrong: budgets of errors, unknown recipients, failed logins and commands without mail, and the tarpit.

use std::time::Duration;

use ekitei_config::Smtp;
use ekitei_filter::Event;

use crate::proto::reply::{self, Reply};

/// What a reply means for the client's budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// A bad command.
    Command,
    /// A recipient that nobody has.
    UnknownRecipient,
    /// A failed login.
    Login,
    /// A recipient elsewhere, without a login.
    Relay,
    /// What the filter refuses. Whoever is listed by mistake should hear why, so it leads to no ban.
    Refused,
}

impl Mistake {
    /// What it is to the limits of the client; failed logins are counted where they are checked.
    pub(crate) fn event(self) -> Option<Event> {
        match self {
            Self::Command => Some(Event::BadCommand),
            Self::UnknownRecipient => Some(Event::UnknownRecipient),
            Self::Relay => Some(Event::RelayAttempt),
            Self::Login | Self::Refused => None,
        }
    }
}

/// What one client has got wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    errors: u32,
    unknown_recipients: u32,
    failed_logins: u32,
    commands_without_mail: u32,
}

/// What follows from a mistake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// How long the reply waits.
    pub(crate) delay: Duration,
    /// What ends the connection after the reply.
    pub(crate) end: Option<Reply>,
}

impl Patience {
    /// Counts a mistake.
    pub(crate) fn lose(&mut self, mistake: Mistake, limits: &Smtp) -> Consequence {
        let unknown = mistake == Mistake::UnknownRecipient;
        if unknown {
            self.unknown_recipients += 1;
        } else {
            self.errors += 1;
        }
        if mistake == Mistake::Login {
            self.failed_logins += 1;
        }
        let end = if self.unknown_recipients > limits.max_unknown_recipients {
            Some(reply::TOO_MANY_UNKNOWN)
        } else if self.errors > limits.max_errors
            || mistake == Mistake::Login && self.failed_logins >= limits.submission.max_auth_failures
        {
            Some(reply::TOO_MANY_ERRORS)
        } else {
            None
        };
        let mistakes = self.errors.saturating_add(self.unknown_recipients);
        let delay = limits.tarpit_delay.get().saturating_mul(mistakes).min(limits.max_tarpit_delay.get());
        Consequence { delay, end }
    }

    /// Counts a command that brings no mail forward; what ends the connection when there were too many.
    pub(crate) fn idle_command(&mut self, limits: &Smtp) -> Option<Reply> {
        self.commands_without_mail += 1;
        (self.commands_without_mail > limits.max_commands_without_mail).then_some(reply::TOO_MANY_COMMANDS)
    }

    /// A message was accepted.
    pub(crate) fn message_accepted(&mut self) {
        self.commands_without_mail = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_its_limit_and_the_budget_ends_the_connection() {
        let limits = Smtp { max_errors: 3, ..Smtp::default() };
        let mut patience = Patience::default();
        let delays: Vec<_> = (0..3).map(|_| patience.lose(Mistake::Command, &limits)).collect();
        assert_eq!(delays[0].delay, Duration::from_millis(500));
        assert_eq!(delays[2].delay, Duration::from_millis(1500));
        assert!(delays.iter().all(|consequence| consequence.end.is_none()));
        assert_eq!(patience.lose(Mistake::Command, &limits).end, Some(reply::TOO_MANY_ERRORS));
        for _ in 0..20 {
            patience.lose(Mistake::UnknownRecipient, &limits);
        }
        assert_eq!(patience.lose(Mistake::UnknownRecipient, &limits).delay, limits.max_tarpit_delay.get());
    }

    #[test]
    fn unknown_recipients_and_failed_logins_have_budgets_of_their_own() {
        let limits = Smtp { max_unknown_recipients: 1, ..Smtp::default() };
        let mut patience = Patience::default();
        assert_eq!(patience.lose(Mistake::UnknownRecipient, &limits).end, None);
        assert_eq!(patience.lose(Mistake::UnknownRecipient, &limits).end, Some(reply::TOO_MANY_UNKNOWN));
        let mut patience = Patience::default();
        assert_eq!(patience.lose(Mistake::Login, &limits).end, None);
        assert_eq!(patience.lose(Mistake::Login, &limits).end, None);
        assert_eq!(patience.lose(Mistake::Login, &limits).end, Some(reply::TOO_MANY_ERRORS));
    }
}
