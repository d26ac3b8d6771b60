//! The transport of the service: what is for domains of ours goes into mailboxes, or on to where addresses lead.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ekitei_blob::{Blobs, DirectoryStore};
use ekitei_directory::{
    AccountId, Directory, Domain, EmailAddress, NewAccount, NewDomain, NewPassword, Settings,
};
use ekitei_kv::lease::{LeaseOptions, Leases};
use ekitei_kv::{MemoryOptions, MonotonicClock, Transaction};
use ekitei_mailstore::MailStore;
use ekitei_queue::dsn::Action;
use ekitei_queue::{Fence, Filter, Handled, LocalOrRelay, Origin, Senders, Shard, Transport};
use ekitei_relay::{Envelope, FailureKind, Recipient, RecipientOutcome, Shipment};
use futures_util::future::{BoxFuture, ready};
use support::{Fake, Journal, World, sent};

/// Rewrites senders by a word in front.
struct Rewriting;

impl Senders for Rewriting {
    fn rewrite(&self, sender: &EmailAddress, domain: &Domain) -> EmailAddress {
        address(&format!("srs={}@{}", sender.to_wire().replace('@', "="), domain.as_ascii()))
    }

    fn restore(&self, given: &EmailAddress) -> Option<EmailAddress> {
        let (user, host) = given.local().as_str().strip_prefix("srs=")?.split_once('=')?;
        Some(address(&format!("{user}@{host}")))
    }
}

/// A fence that always holds.
struct Granted;

impl ekitei_mailstore::Fence for Granted {
    fn check<'a>(&'a self, _: &'a Transaction) -> BoxFuture<'a, ekitei_kv::Result<()>> {
        Box::pin(ready(Ok(())))
    }
}

struct Fixture {
    world: World,
    _folder: tempfile::TempDir,
    mailstore: MailStore,
    bob: AccountId,
    small: AccountId,
    transport: LocalOrRelay,
    elsewhere: Journal,
}

fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text).unwrap()
}

impl Fixture {
    async fn new() -> Self {
        let world = World::new(MemoryOptions::default(), |_| {});
        let (database, clock) = (world.database.clone(), world.clock.clone());
        let directory = Directory::new(database.clone(), Settings::default(), clock.clone());
        let ours = Domain::parse("here.example").unwrap();
        directory.create_domain(&ours, NewDomain::default()).await.unwrap();
        let account = async |name: &str, quota| {
            let new = NewAccount {
                address: address(name),
                display_name: String::new(),
                password: None::<NewPassword>,
                quota,
                enabled: true,
                forwarding: None,
            };
            directory.create_account(new).await.unwrap().id
        };
        let bob = account("bob@here.example", None).await;
        let small = account("small@here.example", Some(10)).await;
        let to = [address("carol@there.example"), address("bob@here.example")].into();
        directory.create_alias(&address("both@here.example"), to).await.unwrap();
        let to = [address("small@here.example"), address("bob@here.example")].into();
        directory.create_alias(&address("all@here.example"), to).await.unwrap();
        directory
            .create_alias(&address("away@here.example"), [address("carol@there.example")].into())
            .await
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let objects = DirectoryStore::open(folder.path()).unwrap();
        let blobs = Blobs::new(database.clone(), objects, ekitei_blob::Settings::default(), clock.clone());
        let mailstore = MailStore::new(database, blobs, ekitei_mailstore::Settings::default(), clock.clone());
        let elsewhere = Journal::default();
        let journal = elsewhere.clone();
        let transport = LocalOrRelay {
            directory,
            mailstore: mailstore.clone(),
            queue: world.queue.clone(),
            elsewhere: Fake::new(move |shipment| {
                journal.add(&shipment);
                async { vec![sent()] }
            }),
            senders: Arc::new(Rewriting),
            live: world.live.clone(),
            clock,
        };
        Self { world, _folder: folder, mailstore, bob, small, transport, elsewhere }
    }

    async fn send(&self, to: &[&str], text: &str, may_finish: bool) -> Vec<Handled> {
        self.send_behind(to, text, may_finish, Arc::new(Granted)).await
    }

    async fn send_behind(
        &self,
        to: &[&str],
        text: &str,
        may_finish: bool,
        fence: Arc<dyn ekitei_mailstore::Fence>,
    ) -> Vec<Handled> {
        let recipient =
            |address: &&str| Recipient { address: (*address).into(), notify: None, original: None };
        let shipment = Shipment {
            destination: to[0].split_once('@').unwrap().1.to_owned(),
            sender_domain: None,
            envelope: Envelope { reverse_path: Some("dora@far.example".into()), ..Envelope::default() },
            recipients: to.iter().map(recipient).collect(),
            message: vec![Bytes::from(text.to_owned())],
            may_finish: Arc::new(move || may_finish),
        };
        self.transport.send(shipment, fence).await
    }

    async fn messages(&self, account: AccountId) -> u64 {
        let mailboxes = self.mailstore.mailboxes(account).await.unwrap();
        let inbox = mailboxes.iter().find(|mailbox| mailbox.name.as_str() == "INBOX");
        match inbox {
            Some(inbox) => self.mailstore.status(account, inbox.id).await.unwrap().messages,
            None => 0,
        }
    }
}

const TEXT: &str = "Subject: a\r\n\r\nb\r\n";

#[tokio::test]
async fn mail_for_a_domain_of_ours_goes_into_the_mailbox_and_other_mail_to_the_relay() {
    let fixture = Fixture::new().await;
    let handled = fixture.send(&["bob@here.example"], TEXT, true).await;
    assert!(matches!(handled[0].outcome, RecipientOutcome::Sent { .. }));
    assert_eq!(handled[0].success, Action::Delivered);
    assert_eq!(fixture.messages(fixture.bob).await, 1);
    let handled = fixture.send(&["x@there.example"], TEXT, true).await;
    assert_eq!(handled[0].success, Action::Relayed);
    assert_eq!(fixture.elsewhere.count("there.example"), 1);
}

#[tokio::test]
async fn each_recipient_has_its_own_end() {
    let fixture = Fixture::new().await;
    let to = ["bob@here.example", "nobody@here.example", "small@here.example", "both@here.example"];
    let handled = fixture.send(&to, TEXT, true).await;
    let failed = |n: usize| match &handled[n].outcome {
        RecipientOutcome::Failed(failure) => failure.status.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(matches!(handled[0].outcome, RecipientOutcome::Sent { .. }));
    assert_eq!((failed(1), failed(2)), ("5.1.1".into(), "5.2.2".into()));
    assert_eq!(handled[3].success, Action::Expanded);
    assert_eq!(
        (fixture.messages(fixture.bob).await, fixture.messages(fixture.small).await),
        (1, 0),
        "bob once"
    );
    let queued = fixture.world.queue.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(queued.len(), 1);
    assert_eq!(queued[0].entry.destination, "there.example");
    assert_eq!(queued[0].message.origin, Origin::Forward);
    assert_eq!(queued[0].message.envelope.reverse_path.as_deref(), Some("srs=dora=far.example@here.example"));
}

#[tokio::test]
async fn a_full_mailbox_does_not_miss_what_others_have_under_the_same_address() {
    let fixture = Fixture::new().await;
    let handled = fixture.send(&["all@here.example"], TEXT, true).await;
    assert!(matches!(handled[0].outcome, RecipientOutcome::Sent { .. }));
    assert_eq!((fixture.messages(fixture.bob).await, fixture.messages(fixture.small).await), (1, 1));
}

#[tokio::test]
async fn mail_to_a_rewritten_sender_leads_back_to_the_sender() {
    let fixture = Fixture::new().await;
    let handled = fixture.send(&["srs=erin=far.example@here.example"], TEXT, true).await;
    assert_eq!(handled[0].success, Action::Relayed);
    let queued = fixture.world.queue.list(&Filter::default(), None, 10).await.unwrap().items;
    assert_eq!(queued[0].entry.recipients[0].recipient.address, "erin@far.example");
}

#[tokio::test]
async fn a_loop_ends_and_work_that_was_taken_over_is_left_alone() {
    let fixture = Fixture::new().await;
    let looped = format!("Delivered-To: bob@here.example\r\n{TEXT}");
    let handled = fixture.send(&["bob@here.example"], &looped, true).await;
    assert!(
        matches!(&handled[0].outcome, RecipientOutcome::Failed(failure) if failure.status.to_string() == "5.4.6")
    );
    let looped = format!("Delivered-To: away@here.example\r\n{TEXT}");
    let handled = fixture.send(&["away@here.example"], &looped, true).await;
    assert!(
        matches!(&handled[0].outcome, RecipientOutcome::Failed(failure) if failure.status.to_string() == "5.4.6"),
        "what was sent on, and came back"
    );
    let handled = fixture.send(&["bob@here.example"], TEXT, false).await;
    assert!(matches!(&handled[0].outcome, RecipientOutcome::Deferred(_)));
    assert_eq!(fixture.messages(fixture.bob).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_another_process_took_over_in_the_last_moment_is_refused_by_the_store() {
    const LEASE: Duration = Duration::from_secs(15);
    let fixture = Fixture::new().await;
    let shard = Shard::of("here.example");
    let process = || {
        let options = LeaseOptions { duration: LEASE, clock: MonotonicClock::runtime(), alone: false };
        Leases::new(fixture.world.database.clone(), options)
    };
    let (paused, other) = (process(), process());
    let held = paused.join("queue", [shard.lease_name()]);
    paused.renew().await.unwrap();
    let fence = Arc::new(Fence { shard, lease: held.held().remove(0) });
    let handled = fixture.send_behind(&["bob@here.example"], TEXT, true, fence.clone()).await;
    assert!(matches!(handled[0].outcome, RecipientOutcome::Sent { .. }), "while it is ours");

    let taken = other.join("queue", [shard.lease_name()]);
    while taken.held().is_empty() {
        other.renew().await.unwrap();
        tokio::time::advance(LEASE / 3).await;
    }
    // The process went to sleep after it had asked its clock.
    let to = ["bob@here.example", "away@here.example"];
    let handled = fixture.send_behind(&to, TEXT, true, fence).await;
    for handled in &handled {
        let RecipientOutcome::Deferred(failure) = &handled.outcome else { panic!("{handled:?}") };
        assert_eq!(failure.kind, FailureKind::Fenced);
    }
    assert_eq!(fixture.messages(fixture.bob).await, 1, "not a second time");
    assert!(fixture.world.queue.list(&Filter::default(), None, 10).await.unwrap().items.is_empty());
}
