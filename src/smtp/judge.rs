//! Verdicts of the filter in the terms of the server.

use std::borrow::Cow;

use ekitei_filter::Refusal;

use crate::proto::params::RcptParameters;
use crate::proto::path::{ForwardPath, ReversePath};
use crate::proto::reply::Reply;
use crate::recipients::Route;
use crate::session::{AcceptedRecipient, Transaction};

/// A refusal as a reply. The filter's texts have nothing but printable ASCII.
pub(crate) fn reply(refusal: Refusal) -> Reply {
    let enhanced = (!refusal.enhanced.is_empty()).then_some(Cow::Owned(refusal.enhanced));
    Reply { code: refusal.code, enhanced, text: Cow::Owned(refusal.text) }
}

/// Gives a message another sender.
pub(crate) fn change_sender(transaction: &mut Transaction, sender: &str) {
    match ReversePath::parse(&format!("<{sender}>")) {
        Some((sender, "")) => transaction.sender = sender,
        _ => tracing::warn!("the sender that a milter gave is none"),
    }
}

/// Takes recipients away.
pub(crate) fn remove_recipients(transaction: &mut Transaction, removed: &[String]) {
    let is_removed = |recipient: &AcceptedRecipient| {
        removed.iter().any(|address| address.eq_ignore_ascii_case(recipient.path.as_str()))
    };
    transaction.recipients.retain(|recipient| !is_removed(recipient));
}

/// An address as a forward-path.
pub(crate) fn forward_path(address: &str) -> Option<ForwardPath> {
    match ForwardPath::parse(&format!("<{address}>")) {
        Some((path, "")) => Some(path),
        _ => {
            tracing::warn!("a recipient that a milter added is none");
            None
        }
    }
}

/// Adds a recipient who is not one already.
pub(crate) fn add_recipient(transaction: &mut Transaction, path: ForwardPath, route: Route) {
    let known = transaction.recipients.iter().any(|recipient| recipient.path == path);
    if !known {
        let Route { accounts, relayed, forwards } = route;
        let parameters = RcptParameters::default();
        transaction.recipients.push(AcceptedRecipient { path, parameters, accounts, relayed, forwards });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::proto::params::MailParameters;

    fn transaction() -> Transaction {
        let sender = ReversePath::parse("<a@b.test>").unwrap().0;
        let mut transaction = Transaction::new("1".to_owned(), sender, MailParameters::default());
        for address in ["c@d.test", "e@f.test"] {
            add_recipient(&mut transaction, forward_path(address).unwrap(), Route::default());
        }
        transaction
    }

    #[test]
    fn milters_change_the_envelope_within_reason() {
        let mut transaction = transaction();
        change_sender(&mut transaction, "x@y.test");
        change_sender(&mut transaction, "x@y.test> SIZE=1");
        assert_eq!(transaction.sender.as_str(), "x@y.test");
        change_sender(&mut transaction, "");
        assert_eq!(transaction.sender, ReversePath::Null);
        remove_recipients(&mut transaction, &["C@D.test".to_owned(), "nobody@d.test".to_owned()]);
        add_recipient(&mut transaction, forward_path("e@f.test").unwrap(), Route::default());
        let left: Vec<&str> =
            transaction.recipients.iter().map(|recipient| recipient.path.as_str()).collect();
        assert_eq!(left, ["e@f.test"]);
        assert_eq!(forward_path("no address"), None);
    }

    #[test]
    fn a_refusal_keeps_its_codes() {
        let reply = reply(Refusal::new(550, "5.7.26", "no"));
        let mut line = Vec::new();
        reply.write(&mut line);
        assert_eq!(line, b"550 5.7.26 no\r\n");
    }
}
