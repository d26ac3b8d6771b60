//! What users say of their mail by what they do with it, for those who learn from it: messages moved or copied into the mailbox for junk are
//! spam, and those moved or copied out of it are none; so are those that get `$Junk` or `$NotJunk` (RFC 9051 §2.3.2).
//!
//! A command only takes note of which messages it was about. They are read when their turn comes, long after its answer.

use std::ops::Not as _;

use ekitei_directory::AccountId;
use ekitei_filter::learn::{Lesson, Loading};
use ekitei_mailstore::{Copied, Keywords, MailStore, MailboxId, MessageId, NewMessage, SpecialUse, Uid};

use crate::session::Session;

/// The keyword of spam.
const JUNK: &str = "$Junk";
/// The keyword of what is no spam.
const NOT_JUNK: &str = "$NotJunk";

/// What it says of a message to go from one mailbox to another. What is thrown away from among junk may still be spam.
fn of_transfer(from: Option<SpecialUse>, to: Option<SpecialUse>) -> Option<Lesson> {
    match (from, to) {
        (Some(SpecialUse::Junk), Some(SpecialUse::Junk | SpecialUse::Trash)) => None,
        (_, Some(SpecialUse::Junk)) => Some(Lesson::Spam),
        (Some(SpecialUse::Junk), _) => Some(Lesson::Ham),
        _ => None,
    }
}

/// What it says of a message to get these keywords.
fn of_keywords(keywords: &Keywords) -> Option<Lesson> {
    let has = |name: &str| keywords.iter().any(|keyword| keyword.eq_ignore_ascii_case(name));
    match (has(JUNK), has(NOT_JUNK)) {
        (true, false) => Some(Lesson::Spam),
        (false, true) => Some(Lesson::Ham),
        _ => None,
    }
}

/// Messages that a command says something of.
pub(crate) struct Lessons {
    lesson: Lesson,
    messages: Vec<(Uid, MessageId, u64)>,
}

impl Session {
    /// What a command says by moving or copying messages of the selected mailbox; to be asked before it does.
    pub(crate) fn transfer_lessons(&self, uids: &[Uid], to: Option<SpecialUse>) -> Option<Lessons> {
        let from = self.selected().ok()?.mailbox.special_use;
        self.lessons(of_transfer(from, to)?, uids)
    }

    /// What a command says by adding keywords to messages of the selected mailbox.
    pub(crate) fn keyword_lessons(&self, uids: &[Uid], keywords: &Keywords) -> Option<Lessons> {
        self.lessons(of_keywords(keywords)?, uids)
    }

    fn lessons(&self, lesson: Lesson, uids: &[Uid]) -> Option<Lessons> {
        let limit = self.shared.learn.as_ref().map_or(0, |learn| learn.limit());
        let told = self.selected().ok()?.numbering.told();
        let entries = uids.iter().take(limit).filter_map(|uid| told.entries.get(told.position(*uid)?));
        let messages: Vec<_> = entries.map(|entry| (entry.uid, entry.message, entry.size)).collect();
        messages.is_empty().not().then_some(Lessons { lesson, messages })
    }

    /// Hands on what a command said, now that it is done.
    pub(crate) fn teach(&self, lessons: Option<Lessons>) {
        let (Some(lessons), Some(learn), Ok(account)) = (lessons, &self.shared.learn, self.account()) else {
            return;
        };
        for (_, message, size) in lessons.messages {
            let loading = load(self.shared.mailstore.clone(), account, message, size);
            learn.offer(lessons.lesson, size, loading);
        }
    }

    /// As [`Self::teach`], of those that were moved or copied.
    pub(crate) fn teach_transferred(&self, lessons: Option<Lessons>, copied: &Copied) {
        self.teach(lessons.map(|mut lessons| {
            let done = |uid: &Uid| copied.uids.binary_search_by_key(uid, |(from, _)| *from).is_ok();
            lessons.messages.retain(|(uid, ..)| done(uid));
            lessons
        }));
    }

    /// What APPEND says of each of its messages, with their sizes; to be asked before it does.
    pub(crate) fn append_lessons(
        &self,
        messages: &[NewMessage],
        to: Option<SpecialUse>,
    ) -> Vec<(Option<Lesson>, u64)> {
        let limit = self.shared.learn.as_ref().map_or(0, |learn| learn.limit());
        let lesson = |new: &NewMessage| of_keywords(&new.keywords).or_else(|| of_transfer(None, to));
        messages.iter().take(limit).map(|new| (lesson(new), new.message.len() as u64)).collect()
    }

    /// Hands on what APPEND said of its messages, which have these UIDs.
    pub(crate) fn teach_appended(&self, lessons: &[(Option<Lesson>, u64)], mailbox: MailboxId, uids: &[Uid]) {
        let (Some(learn), Ok(account)) = (&self.shared.learn, self.account()) else { return };
        for ((lesson, size), uid) in lessons.iter().zip(uids) {
            if let Some(lesson) = lesson {
                let loading = load_appended(self.shared.mailstore.clone(), account, mailbox, *uid);
                learn.offer(*lesson, *size, loading);
            }
        }
    }
}

fn load(mailstore: MailStore, account: AccountId, message: MessageId, size: u64) -> Loading {
    Box::pin(async move {
        let read = mailstore.read(account, message, 0..size).await;
        read.inspect_err(|error| tracing::debug!(%error, "a message cannot be learned")).ok()
    })
}

fn load_appended(mailstore: MailStore, account: AccountId, mailbox: MailboxId, uid: Uid) -> Loading {
    Box::pin(async move {
        let view = mailstore.view(account, mailbox).await.ok()?;
        let snapshot = view.refresh().await.ok()?;
        let entry = snapshot.entries.get(snapshot.position(uid)?)?;
        load(mailstore, account, entry.message, entry.size).await
    })
}
