//! Milters: the dialogue, the changes, and what happens when one of them does not keep to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ekitei_filter::milter::{Chain, Milled};
use ekitei_filter::{Disposition, Refusal, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{
    envelope, in_time, mail, nobody, peer, refusal, scanners, scanners_and_registry, serve,
};

/// A command as it came: its letter and its data.
type Frame = (u8, Vec<u8>);

/// A milter that negotiates like this, and answers by a function.
struct Fake {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Frame>>>,
}

/// One answer as octets.
fn answer(letter: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len() + 1).unwrap();
    [&length.to_be_bytes()[..], &[letter], data].concat()
}

/// What is negotiated: version, actions, steps.
fn options(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    [version, actions, steps].map(u32::to_be_bytes).concat()
}

/// Everything is told and answered, and every change allowed.
fn all() -> Vec<u8> {
    options(6, 0x1ff, 0)
}

async fn read_frame(stream: &mut TcpStream) -> Option<Frame> {
    let length = usize::try_from(stream.read_u32().await.ok()?).unwrap();
    let letter = stream.read_u8().await.ok()?;
    let mut data = vec![0; length - 1];
    stream.read_exact(&mut data).await.ok()?;
    Some((letter, data))
}

impl Fake {
    /// `say` gives the octets of the answer to a command; `None` is Continue.
    async fn start(
        negotiation: Vec<u8>,
        say: impl Fn(u8, &[u8]) -> Option<Vec<u8>> + Clone + Send + Sync + 'static,
    ) -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        let address = serve(move |mut stream| {
            let (log, say, negotiation) = (Arc::clone(&log), say.clone(), negotiation.clone());
            async move {
                while let Some((letter, data)) = read_frame(&mut stream).await {
                    let octets = match letter {
                        b'O' => answer(b'O', &negotiation),
                        b'D' | b'A' | b'Q' => Vec::new(),
                        _ => say(letter, &data).unwrap_or_else(|| answer(b'c', b"")),
                    };
                    log.lock().unwrap().push((letter, data));
                    if stream.write_all(&octets).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Self { address, heard }
    }

    fn heard(&self) -> Vec<Frame> {
        self.heard.lock().unwrap().clone()
    }

    /// The letters of what it heard, macros apart.
    fn letters(&self) -> String {
        self.heard()
            .iter()
            .filter(|(letter, _)| *letter != b'D')
            .map(|(letter, _)| char::from(*letter))
            .collect()
    }

    fn data(&self, letter: u8) -> Vec<Vec<u8>> {
        self.heard().into_iter().filter(|(of, _)| *of == letter).map(|(_, data)| data).collect()
    }
}

fn chain(milters: &[(SocketAddr, &str)]) -> Chain {
    scanners(&yaml(milters)).milters()
}

fn yaml(milters: &[(SocketAddr, &str)]) -> String {
    let milters = milters.iter().map(|(address, options)| {
        format!("{{address: '{address}', timeout: 400ms, messageTimeout: 1s, {options}}}")
    });
    format!("milters: [{}]", milters.collect::<Vec<_>>().join(", "))
}

/// Goes through a connection up to the recipient; the first verdict that is not to go on.
async fn begin(chain: &mut Chain) -> Verdict {
    let peer = peer();
    let parameters = ["SIZE=100".to_owned(), "BODY=8BITMIME".to_owned()];
    for step in ["connect", "hello", "sender", "recipient"] {
        let verdict = match step {
            "connect" => chain.connect(&peer).await,
            "hello" => chain.hello(&peer).await,
            "sender" => chain.sender(&peer, "t1", "carol@elsewhere.test", &parameters).await,
            _ => chain.recipient("alice@example.test", &[]).await,
        };
        if verdict != Verdict::Continue {
            return verdict;
        }
    }
    Verdict::Continue
}

/// What the chain makes of the mail, or of the first step that it refuses.
async fn mill(chain: &mut Chain, message: &Bytes) -> Milled {
    let milling = async {
        match begin(chain).await {
            Verdict::Continue => chain.message(message).await,
            Verdict::Refuse(refusal) | Verdict::Disconnect(refusal) => Milled {
                disposition: Disposition::Refuse(refusal),
                message: None,
                sender: None,
                added: Vec::new(),
                removed: Vec::new(),
            },
        }
    };
    in_time(milling).await
}

fn text(milled: &Milled) -> String {
    String::from_utf8(milled.message.as_ref().unwrap().to_vec()).unwrap()
}

/// Sends these answers at the end of the message.
async fn at_end(answers: &[Vec<u8>]) -> Fake {
    let octets = answers.concat();
    Fake::start(all(), move |letter, _| (letter == b'E').then(|| octets.clone())).await
}

#[tokio::test]
async fn a_milter_hears_each_step_as_the_protocol_has_it() {
    let fake = Fake::start(all(), |_, _| None).await;
    let mut chain = chain(&[(fake.address, "")]);
    let milled = mill(&mut chain, &mail()).await;
    assert_eq!((milled.disposition, milled.message), (Disposition::Accept, None));
    chain.quit().await;
    in_time(async {
        while !fake.letters().ends_with('Q') {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(fake.letters(), "OCHMRTLLLLNBEQ");
    assert_eq!(fake.data(b'O')[0], options(6, 0x1ff, 0x1f_f7ff));
    assert_eq!(fake.data(b'C')[0], b"mail.elsewhere.test\x004\x12\x67192.0.2.7\0");
    assert_eq!(fake.data(b'H')[0], b"helo.elsewhere.test\0");
    assert_eq!(fake.data(b'M')[0], b"<carol@elsewhere.test>\0SIZE=100\0BODY=8BITMIME\0");
    assert_eq!(fake.data(b'R')[0], b"<alice@example.test>\0");
    assert_eq!(fake.data(b'L')[1], b"X-Folded\0a\n b\0", "line ends are LF, the space is left out");
    assert_eq!(fake.data(b'B')[0], b"Hello\r\n");
    let macros = fake.data(b'D');
    let has = |stage: u8, name: &str, value: &str| {
        let pair = format!("{name}\0{value}\0");
        macros.iter().any(|data| data[0] == stage && memchr::memmem::find(data, pair.as_bytes()).is_some())
    };
    for (stage, name, value) in [
        (b'C', "j", "mx.example.test"),
        (b'C', "{client_addr}", "192.0.2.7"),
        (b'C', "{client_name}", "mail.elsewhere.test"),
        (b'H', "{tls_version}", "TLSv1.3"),
        (b'M', "i", "t1"),
        (b'M', "{auth_authen}", "carol"),
        (b'M', "{mail_addr}", "carol@elsewhere.test"),
        (b'R', "{rcpt_addr}", "alice@example.test"),
        (b'E', "i", "t1"),
    ] {
        assert!(has(stage, name, value), "{name} at {}", char::from(stage));
    }
}

#[tokio::test]
async fn a_milter_gets_the_macros_that_it_chose() {
    let choice = [&all()[..], &2_u32.to_be_bytes(), b"i {client_addr},{tls_version}\0"].concat();
    let fake = Fake::start(choice, |_, _| None).await;
    mill(&mut chain(&[(fake.address, "")]), &mail()).await;
    let macros = fake.data(b'D');
    let at_mail = macros.iter().find(|data| data[0] == b'M').unwrap();
    assert_eq!(at_mail, b"M{client_addr}\x00192.0.2.7\0{tls_version}\0TLSv1.3\0i\0t1\0");
}

#[tokio::test]
async fn what_a_milter_does_not_want_it_does_not_hear() {
    // No connection, EHLO, recipients, body; no answers to MAIL, fields and the end of the header.
    let fake = Fake::start(options(6, 0, 0x1 | 0x2 | 0x8 | 0x10 | 0x4000 | 0x80 | 0x4_0000), |letter, _| {
        b"MLN".contains(&letter).then(Vec::new)
    })
    .await;
    let milled = mill(&mut chain(&[(fake.address, "")]), &mail()).await;
    assert_eq!(milled.disposition, Disposition::Accept);
    assert_eq!(fake.letters(), "OMTLLLLNE");
}

#[tokio::test]
async fn a_milter_of_version_two_hears_nothing_that_came_later() {
    let fake = Fake::start(options(2, 0x3f, 0), |_, _| None).await;
    let milled = mill(&mut chain(&[(fake.address, "")]), &mail()).await;
    assert_eq!(milled.disposition, Disposition::Accept);
    assert_eq!(fake.letters(), "OCHMRLLLLNBE");
}

#[tokio::test]
async fn the_leading_space_is_told_where_it_was_agreed_on() {
    let fake = Fake::start(options(6, 0, 0x10_0000), |_, _| None).await;
    mill(&mut chain(&[(fake.address, "")]), &mail()).await;
    assert_eq!(fake.data(b'L')[0], b"Subject\0 One\0");
}

#[tokio::test]
async fn a_body_comes_in_pieces_and_the_rest_can_be_skipped() {
    let message = Bytes::from([b"A: b\r\n\r\n".as_slice(), &vec![b'x'; 200_000]].concat());
    let all_of_it = Fake::start(all(), |_, _| None).await;
    mill(&mut chain(&[(all_of_it.address, "")]), &message).await;
    let sizes: Vec<usize> = all_of_it.data(b'B').iter().map(Vec::len).collect();
    assert_eq!(sizes, [65_535, 65_535, 65_535, 200_000 - 3 * 65_535]);
    let skips =
        Fake::start(options(6, 0, 0x400), |letter, _| (letter == b'B').then(|| answer(b's', b""))).await;
    let milled = mill(&mut chain(&[(skips.address, "")]), &message).await;
    assert_eq!(milled.disposition, Disposition::Accept);
    assert!(skips.letters().ends_with("NBE"), "{}", skips.letters());
}

#[tokio::test]
async fn every_answer_at_every_step_means_what_the_protocol_says() {
    for step in *b"CHMRTLNBE" {
        let of = async |octets: Vec<u8>| {
            let fake = Fake::start(all(), move |letter, _| (letter == step).then(|| octets.clone())).await;
            let milled = mill(&mut chain(&[(fake.address, "")]), &mail()).await;
            (milled.disposition, fake.letters())
        };
        let shown = char::from(step);
        let (accepted, heard) = of(answer(b'a', b"")).await;
        assert_eq!(accepted, Disposition::Accept);
        assert!(heard.trim_end_matches('A').ends_with(shown), "nothing comes behind Accept: {heard}");
        assert_eq!(refusal(&of(answer(b'r', b"")).await.0).code, 550, "{shown}");
        assert_eq!(refusal(&of(answer(b't', b"")).await.0).code, 451, "{shown}");
        assert_eq!(refusal(&of(answer(b'4', b"")).await.0).code, 421, "{shown}");
        let replied = of(answer(b'y', b"554-5.7.9 Not\r\n554 5.7.9 you\0")).await.0;
        assert_eq!(*refusal(&replied), Refusal::new(554, "5.7.9", "Not you"), "{shown}");
        if !b"CH".contains(&step) {
            assert_eq!(of(answer(b'd', b"")).await.0, Disposition::Discard, "{shown}");
        }
    }
}

#[tokio::test]
async fn changes_are_made_at_the_end_of_the_message() {
    let fake = at_end(&[
        answer(b'h', b"X-Added\0one\n\ttwo\0"),
        answer(b'i', b"\0\0\0\x01X-Second\0yes\0"),
        answer(b'i', b"\0\0\0\0X-First\0yes\0"),
        answer(b'm', b"\0\0\0\x01subject\0Two\0"),
        answer(b'm', b"\0\0\0\x01X-Folded\0\0"),
        answer(b'b', b"New "),
        answer(b'p', b""),
        answer(b'b', b"body\n"),
        answer(b'+', b"<dave@example.test>\0"),
        answer(b'2', b"<erin@example.test>\0NOTIFY=NEVER\0"),
        answer(b'-', b"<alice@example.test>\0"),
        answer(b'e', b"<>\0"),
        answer(b'c', b""),
    ])
    .await;
    let milled = mill(&mut chain(&[(fake.address, "")]), &mail()).await;
    assert_eq!(
        text(&milled),
        "X-First: yes\r\nX-Second: yes\r\nsubject: Two\r\nX-Spam: No\r\nFrom: carol@elsewhere.test\r\n\
         X-Added: one\r\n\ttwo\r\n\r\nNew body\r\n"
    );
    assert_eq!(milled.added, ["dave@example.test", "erin@example.test"]);
    assert_eq!(milled.removed, ["alice@example.test"]);
    assert_eq!(milled.sender.as_deref(), Some(""));
}

#[tokio::test]
async fn a_quarantined_message_goes_to_junk() {
    let fake = at_end(&[answer(b'q', b"looks odd\0"), answer(b'a', b"")]).await;
    let milled = mill(&mut chain(&[(fake.address, "")]), &mail()).await;
    assert_eq!(milled.disposition, Disposition::Junk);
}

#[tokio::test]
async fn each_milter_sees_what_those_before_it_changed() {
    let first = at_end(&[answer(b'h', b"X-One\x001\0"), answer(b'b', b"New\r\n"), answer(b'c', b"")]).await;
    let second = at_end(&[answer(b'h', b"X-Two\x002\0"), answer(b'c', b"")]).await;
    let milled = mill(&mut chain(&[(first.address, ""), (second.address, "")]), &mail()).await;
    assert_eq!(second.data(b'L').last().unwrap(), b"X-One\x001\0");
    assert_eq!(second.data(b'B'), [b"New\r\n"]);
    assert!(text(&milled).ends_with("X-One: 1\r\nX-Two: 2\r\n\r\nNew\r\n"), "{}", text(&milled));
}

#[tokio::test]
async fn what_one_milter_refuses_the_next_does_not_hear() {
    let first = Fake::start(all(), |letter, data| {
        (letter == b'R' && data.starts_with(b"<bob")).then(|| answer(b'r', b""))
    })
    .await;
    let second = Fake::start(all(), |_, _| None).await;
    let mut chain = chain(&[(first.address, ""), (second.address, "")]);
    assert_eq!(begin(&mut chain).await, Verdict::Continue);
    assert!(matches!(chain.recipient("bob@example.test", &[]).await, Verdict::Refuse(_)));
    assert_eq!(chain.message(&mail()).await.disposition, Disposition::Accept, "the other recipient has it");
    assert_eq!(second.data(b'R').len(), 1);
}

#[tokio::test]
async fn a_connection_that_a_milter_refused_stays_refused() {
    let fake = Fake::start(all(), |letter, _| (letter == b'C').then(|| answer(b'r', b""))).await;
    let mut chain = chain(&[(fake.address, "")]);
    assert!(matches!(chain.connect(&peer()).await, Verdict::Refuse(_)));
    assert!(matches!(chain.hello(&peer()).await, Verdict::Refuse(_)));
    assert!(matches!(chain.sender(&peer(), "t1", "", &[]).await, Verdict::Refuse(_)));
    assert_eq!(fake.letters(), "OC");
}

#[tokio::test]
async fn one_connection_carries_several_messages() {
    let fake = Fake::start(all(), |_, _| None).await;
    let mut chain = chain(&[(fake.address, "")]);
    begin(&mut chain).await;
    chain.reset();
    for id in ["t2", "t3"] {
        assert_eq!(chain.sender(&peer(), id, "", &[]).await, Verdict::Continue);
        assert_eq!(chain.recipient("alice@example.test", &[]).await, Verdict::Continue);
        assert_eq!(chain.data().await, Verdict::Continue);
        assert_eq!(chain.message(&mail()).await.disposition, Disposition::Accept);
    }
    assert_eq!(fake.letters(), "OCHMRAMRTLLLLNBEMRTLLLLNBE");
    assert_eq!(fake.data(b'M')[1], b"<>\0");
}

/// Milters that break the protocol in one way each.
async fn broken() -> Vec<(&'static str, SocketAddr)> {
    let saying = async |octets: Vec<u8>| {
        Fake::start(all(), move |letter, _| (letter == b'E').then(|| octets.clone())).await.address
    };
    let negotiating = async |octets: Vec<u8>| Fake::start(octets, |_, _| None).await.address;
    let endless = |octets: Vec<u8>| {
        serve(move |mut stream| {
            let octets = octets.clone();
            async move {
                stream.write_all(&answer(b'O', &all())).await.unwrap();
                while stream.write_all(&octets).await.is_ok() {}
            }
        })
    };
    let silent = serve(|mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let at_body = Fake::start(all(), |letter, _| (letter == b'L').then(Vec::new)).await;
    vec![
        ("not there", nobody().await),
        ("closes at once", serve(|stream| async move { drop(stream) }).await),
        ("silent", silent.await),
        ("silent at a field", at_body.address),
        ("version 1", negotiating(options(1, 0, 0)).await),
        ("version 7", negotiating(options(7, 0, 0)).await),
        ("options that nobody offered", negotiating(options(6, 0x8000_0000, 0)).await),
        ("half of the options", negotiating(vec![0, 0, 0, 6]).await),
        ("no letter", endless(vec![0; 4]).await),
        ("a frame of 4 GiB", endless(vec![0xff; 4096]).await),
        ("changes before the end", endless(answer(b'h', b"X\0y\0")).await),
        ("progress for ever", endless(answer(b'p', b"").repeat(1000)).await),
        ("an unknown answer", saying(answer(b'!', b"")).await),
        ("no answer to negotiation", saying(answer(b'O', &all())).await),
        ("skip at the end", saying(answer(b's', b"")).await),
        ("a reply of 250", saying(answer(b'y', b"250 ok\0")).await),
        ("a field without a place", saying(answer(b'i', b"\0\0")).await),
        ("too many changes", saying(answer(b'h', b"X\0y\0").repeat(1001)).await),
        (
            "too much body",
            saying([answer(b'b', &[b'x'; 60_000]), answer(b'b', &[b'x'; 60_000])].concat()).await,
        ),
        ("half of an answer", saying(vec![0, 0, 0, 9, b'h', b'X']).await),
    ]
}

#[tokio::test]
async fn a_milter_that_fails_in_any_way_is_a_failure_as_configured_and_in_time() {
    let judged = broken().await.into_iter().map(async |(what, address)| {
        for (policy, code) in [("accept", None), ("tempfail", Some(451)), ("reject", Some(550))] {
            let options = format!("onFailure: {policy}, maxChangesSize: 100kB");
            let milled = mill(&mut chain(&[(address, &options)]), &mail()).await;
            match (code, &milled.disposition) {
                (None, Disposition::Accept) => assert_eq!(milled.message, None, "{what}"),
                (Some(code), disposition) => assert_eq!(refusal(disposition).code, code, "{what}"),
                (None, other) => panic!("{what}: {other:?}"),
            }
        }
    });
    futures_util::future::join_all(judged).await;
}

#[tokio::test]
async fn a_message_that_lost_its_milter_on_the_way_does_not_get_through_without_it() {
    let lost = Fake::start(all(), |letter, data| {
        (letter == b'R' && data.starts_with(b"<bob")).then(|| answer(b'!', b""))
    })
    .await;
    let mut chain = chain(&[(lost.address, "")]);
    begin(&mut chain).await;
    for recipient in ["bob@example.test", "dave@example.test"] {
        let verdict = chain.recipient(recipient, &[]).await;
        assert!(matches!(verdict, Verdict::Refuse(refusal) if refusal.code == 451), "{recipient}");
    }
    assert_eq!(refusal(&chain.message(&mail()).await.disposition).code, 451);
}

#[tokio::test]
async fn a_change_that_was_not_agreed_on_is_a_failure() {
    let add_only = Fake::start(options(6, 0x1, 0), |letter, _| {
        (letter == b'E').then(|| [answer(b'-', b"<alice@example.test>\0"), answer(b'c', b"")].concat())
    })
    .await;
    let milled = mill(&mut chain(&[(add_only.address, "")]), &mail()).await;
    assert_eq!(refusal(&milled.disposition).code, 451);
    assert!(milled.removed.is_empty());
}

#[tokio::test]
async fn a_milter_that_comes_back_is_told_the_connection_again() {
    let calls = Arc::new(Mutex::new(0));
    let fake = Fake::start(all(), {
        let calls = Arc::clone(&calls);
        move |letter, _| {
            let mut calls = calls.lock().unwrap();
            *calls += u32::from(letter == b'T');
            // Rubbish to the first DATA only.
            (letter == b'T' && *calls == 1).then(|| answer(b'!', b""))
        }
    })
    .await;
    let (scanners, registry) = scanners_and_registry(&yaml(&[(fake.address, "name: fake")]));
    let mut chain = scanners.milters();
    assert_eq!(begin(&mut chain).await, Verdict::Continue);
    assert!(matches!(chain.data().await, Verdict::Refuse(refusal) if refusal.code == 451));
    assert_eq!(chain.sender(&peer(), "t2", "", &[]).await, Verdict::Continue);
    assert_eq!(chain.recipient("alice@example.test", &[]).await, Verdict::Continue);
    assert_eq!(chain.message(&mail()).await.disposition, Disposition::Accept);
    assert_eq!(fake.letters(), "OCHMRTOCHMRTLLLLNBE");
    let metrics = registry.render();
    let failures = "ekitei_filter_scan_failures_total{reason=\"nonsense\",scanner=\"milter:fake\"} 1";
    assert!(metrics.contains(failures), "{metrics}");
    assert!(metrics.contains("{scanner=\"milter:fake\",verdict=\"accept\"} 1"), "{metrics}");
}

#[tokio::test]
async fn submissions_are_told_unless_configured_otherwise() {
    for (options, letters) in [("", "OCHM"), ("submissions: false", "OCH")] {
        let fake = Fake::start(all(), |_, _| None).await;
        let mut chain = chain(&[(fake.address, options)]);
        let mut user = peer();
        user.client.authenticated = true;
        chain.connect(&user).await;
        chain.hello(&user).await;
        chain.sender(&user, "t1", "alice@example.test", &[]).await;
        assert_eq!(fake.letters(), letters);
    }
}

#[tokio::test]
async fn a_submission_goes_past_all_scanners_in_one_call() {
    let fake = at_end(&[answer(b'h', b"X-Milter\0yes\0"), answer(b'c', b"")]).await;
    let clamd = serve(|mut stream| async move {
        let mut seen = Vec::new();
        while !seen.ends_with(&[0; 4]) {
            let mut octets = [0; 1000];
            let count = stream.read(&mut octets).await.unwrap();
            seen.extend_from_slice(&octets[..count]);
        }
        let found = memchr::memmem::find(&seen, b"X-Milter: yes").is_some();
        let reply: &[u8] = if found { b"stream: Bad FOUND\0" } else { b"stream: OK\0" };
        stream.write_all(reply).await.unwrap();
    })
    .await;
    let milters = yaml(&[(fake.address, "")]);
    let scanners = scanners(&format!("clamd: {{servers: ['{clamd}'], onVirus: junk}}, {milters}"));
    let milled = in_time(scanners.submission(&peer(), &envelope(), &mail())).await;
    assert_eq!(milled.disposition, Disposition::Junk, "clamd saw what the milter added");
    assert!(text(&milled).contains("X-Milter: yes\r\n"));
    assert_eq!(fake.letters().trim_end_matches('Q'), "OCHMRRTLLLLNBE");
}

#[tokio::test]
async fn a_field_longer_than_a_frame_is_told_cut_and_stored_whole() {
    let fake = at_end(&[answer(b'h', b"X-Seen\0y\0"), answer(b'c', b"")]).await;
    let value = "x".repeat(100_000);
    let message = Bytes::from(format!("A: {value}\r\n\r\nHello\r\n"));
    let milled = mill(&mut chain(&[(fake.address, "")]), &message).await;
    assert_eq!(fake.data(b'L')[0].len(), 65_535);
    assert!(text(&milled).starts_with(&format!("A: {value}\r\nX-Seen: y\r\n")));
}
