//! LIST and LSUB (RFC 9051 §6.3.9; RFC 5258, 5819, 6154, 3348; RFC 3501 §6.3.9).

use std::collections::{BTreeMap, BTreeSet};

use ekitei_mailstore::{Mailbox, MailboxName as StoredName};

use crate::mailboxes::{wire_name, wire_use};
use crate::proto::command::List;
use crate::proto::mailbox_name::{DELIMITER, ListPattern};
use crate::proto::response::{Code, ListAttribute, ListEntry};
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;
use crate::status::check_items;

/// Steps of matching before other tasks have their turn.
const STEPS_PER_TURN: usize = 1 << 20;
/// Octets of all patterns of one command: matching takes time in proportion to them.
const MAX_PATTERN_OCTETS: usize = 2000;

/// What an account's list of mailboxes is made of, read at one time.
struct Mailboxes {
    /// The mailboxes, by name.
    existing: BTreeMap<StoredName, Mailbox>,
    subscribed: BTreeSet<StoredName>,
    /// Names with mailboxes below them.
    parents: BTreeSet<StoredName>,
}

/// One name that LIST answers with.
struct Listed {
    name: StoredName,
    attributes: Vec<ListAttribute>,
    child_subscribed: bool,
}

/// All names above `name`, nearest first.
fn ancestors(name: &StoredName) -> impl Iterator<Item = StoredName> {
    std::iter::successors(name.parent(), StoredName::parent)
}

impl Mailboxes {
    fn new(existing: Vec<Mailbox>, subscribed: Vec<StoredName>) -> Self {
        let existing: BTreeMap<_, _> =
            existing.into_iter().map(|mailbox| (mailbox.name.clone(), mailbox)).collect();
        let parents = existing.keys().flat_map(ancestors).collect();
        Self { existing, subscribed: subscribed.into_iter().collect(), parents }
    }

    /// The names that the selection options choose, whatever the patterns.
    fn chosen(&self, list: &List) -> BTreeSet<&StoredName> {
        let special =
            |name: &StoredName| self.existing.get(name).is_some_and(|mailbox| mailbox.special_use.is_some());
        let names: Box<dyn Iterator<Item = &StoredName>> = if list.selection.subscribed {
            Box::new(self.subscribed.iter())
        } else {
            Box::new(self.existing.keys())
        };
        names.filter(|name| !list.selection.special_use || special(name)).collect()
    }

    /// The attributes of a name (RFC 9051 §7.3.1). CHILDREN and SPECIAL-USE are told always: clients want them, and may have them.
    fn attributes(&self, name: &StoredName, subscribed: bool) -> Vec<ListAttribute> {
        let mut attributes = Vec::new();
        let mailbox = self.existing.get(name);
        if mailbox.is_none() {
            attributes.push(ListAttribute::NonExistent);
        }
        attributes.push(if self.parents.contains(name) {
            ListAttribute::HasChildren
        } else {
            ListAttribute::HasNoChildren
        });
        if let Some(special_use) = mailbox.and_then(|mailbox| mailbox.special_use) {
            attributes.push(ListAttribute::SpecialUse(wire_use(special_use)));
        }
        if subscribed && self.subscribed.contains(name) {
            attributes.push(ListAttribute::Subscribed);
        }
        attributes
    }
}

/// The patterns of one command.
struct Patterns {
    patterns: Vec<ListPattern>,
    /// Octets of all of them.
    length: usize,
    /// Steps since other tasks had their turn.
    steps: usize,
}

impl Patterns {
    /// # Errors
    /// `LIMIT` for patterns that would take too long.
    fn new(reference: &str, patterns: &[ListPattern]) -> Result<Self, Stop> {
        // Nothing lies under a reference that cannot be the beginning of a name.
        let patterns: Vec<ListPattern> =
            patterns.iter().filter_map(|pattern| pattern.under(reference)).collect();
        let length = patterns.iter().map(|pattern| pattern.as_str().len()).sum();
        if length > MAX_PATTERN_OCTETS {
            return Err(Reply::no(Code::Limit, "The patterns are too long").into());
        }
        Ok(Self { patterns, length, steps: 0 })
    }

    /// Whether a name matches any of them.
    async fn matches(&mut self, name: &StoredName) -> bool {
        self.steps += name.as_str().len() * self.length;
        if self.steps > STEPS_PER_TURN {
            self.steps = 0;
            tokio::task::yield_now().await;
        }
        let name = wire_name(name);
        self.patterns.iter().any(|pattern| pattern.matches(&name))
    }
}

impl Session {
    async fn read_mailboxes(&self) -> Result<Mailboxes, Stop> {
        let (store, account) = (&self.shared.mailstore, self.account()?);
        let existing = store.mailboxes(account).await?;
        Ok(Mailboxes::new(existing, store.subscriptions(account).await?))
    }

    /// What LIST says of one mailbox.
    pub(crate) async fn attributes(&self, mailbox: &Mailbox) -> Result<Vec<ListAttribute>, Stop> {
        Ok(self.read_mailboxes().await?.attributes(&mailbox.name, false))
    }

    pub(crate) async fn list(&mut self, list: &List) -> Outcome {
        let asks_delimiter =
            !list.extended && list.patterns.iter().all(|pattern| pattern.as_str().is_empty());
        if asks_delimiter {
            self.wire.responses(self.encoding).list_delimiter();
            return Ok(Reply::ok("That is the delimiter"));
        }
        check_items(&list.returns.status)?;
        let mailboxes = self.read_mailboxes().await?;
        for listed in listed(&mailboxes, list).await? {
            let name = wire_name(&listed.name);
            self.wire.responses(self.encoding).list(&ListEntry {
                mailbox: &name,
                attributes: &listed.attributes,
                child_subscribed: listed.child_subscribed,
                old_name: None,
            });
            if let (false, Some(mailbox)) =
                (list.returns.status.is_empty(), mailboxes.existing.get(&listed.name))
            {
                self.list_status(mailbox, list).await?;
            }
            self.wire.drain().await?;
        }
        Ok(Reply::ok("Those are the mailboxes"))
    }

    /// STATUS after a LIST response (RFC 5819 §2): left out for a mailbox that is gone meanwhile.
    async fn list_status(&mut self, mailbox: &Mailbox, list: &List) -> Result<(), Stop> {
        match self.status_values(mailbox, &list.returns.status).await {
            Ok(values) => self.wire.responses(self.encoding).status(&wire_name(&mailbox.name), &values),
            Err(Stop::Reply(reply)) if reply.code == Some(Code::NonExistent) => {}
            Err(stop) => return Err(stop),
        }
        Ok(())
    }

    /// LSUB: subscribed names that match, whether there are such mailboxes or not; and for `%`, the last level that matches of
    /// those that lie deeper, as `\Noselect` (RFC 3501 §6.3.9).
    pub(crate) async fn lsub(&mut self, reference: &str, pattern: &ListPattern) -> Outcome {
        let names = self.shared.mailstore.subscriptions(self.account()?).await?;
        let mut patterns = Patterns::new(reference, std::slice::from_ref(pattern))?;
        let subscribed: BTreeSet<&StoredName> = names.iter().collect();
        let mut answers: BTreeMap<StoredName, bool> = BTreeMap::new();
        for name in &names {
            if patterns.matches(name).await {
                answers.insert(name.clone(), true);
            } else if pattern.as_str().ends_with('%') {
                for above in ancestors(name) {
                    if !patterns.matches(&above).await {
                        continue;
                    }
                    if !subscribed.contains(&above) {
                        answers.entry(above).or_insert(false);
                    }
                    break;
                }
            }
        }
        for (name, is_subscribed) in answers {
            let attributes: &[ListAttribute] = if is_subscribed { &[] } else { &[ListAttribute::NoSelect] };
            self.wire.responses(self.encoding).lsub(&wire_name(&name), attributes);
            self.wire.drain().await?;
        }
        Ok(Reply::ok("Those are the subscriptions"))
    }
}

/// The answer to LIST, by name.
async fn listed(mailboxes: &Mailboxes, list: &List) -> Result<Vec<Listed>, Stop> {
    let mut patterns = Patterns::new(&list.reference, &list.patterns)?;
    let chosen = mailboxes.chosen(list);
    let tell_subscribed = list.selection.subscribed || list.returns.subscribed;
    let mut matching: BTreeSet<StoredName> = BTreeSet::new();
    // With RECURSIVEMATCH, names above chosen ones that do not match themselves are listed (RFC 5258 §3.5).
    let mut with_hidden_children: BTreeSet<StoredName> = BTreeSet::new();
    // CHILDINFO is told of a listed name whether the chosen ones below match or not.
    let mut with_children: BTreeSet<StoredName> = BTreeSet::new();
    for name in chosen {
        let matches = patterns.matches(name).await;
        if matches {
            matching.insert(name.clone());
        }
        if !list.selection.recursive_match {
            continue;
        }
        for above in ancestors(name) {
            if !matches && patterns.matches(&above).await {
                with_hidden_children.insert(above.clone());
            }
            with_children.insert(above);
        }
    }
    let names: BTreeSet<&StoredName> = matching.iter().chain(&with_hidden_children).collect();
    let entry = |name: &StoredName| Listed {
        name: name.clone(),
        attributes: mailboxes.attributes(name, tell_subscribed),
        child_subscribed: list.selection.subscribed && with_children.contains(name),
    };
    Ok(names.into_iter().map(entry).collect())
}

const _: () = assert!(DELIMITER == StoredName::SEPARATOR, "the protocol and the store separate levels alike");
