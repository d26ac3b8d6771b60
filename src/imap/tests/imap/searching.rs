//! SEARCH with its keys, RETURN options and the saved result.

use crate::support::{Client, World};

async fn five() -> (World, Client) {
    let world = World::new().await;
    let message = |from: &str, subject: &str, day: u32, body: &str| {
        format!(
            "From: {from}\r\nTo: list@example.test\r\nSubject: {subject}\r\nDate: {day} Dec 2025 10:00:00 +0000\r\n\r\n{body}\r\n"
        )
    };
    let messages = [
        message("ann@example.test", "lunch", 1, "sushi"),
        message("bob@example.test", "lunch again", 2, "ramen"),
        message("ann@example.test", "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=", 3, "udon and sushi"),
        message("cy@example.test", "report", 4, &"x".repeat(3000)),
        message("bob@example.test", "last", 5, "soba"),
    ];
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut client = world.select("alice").await;
    client.ok("STORE 1:2 +FLAGS.SILENT (\\Seen)").await;
    client.ok("STORE 3 +FLAGS.SILENT (\\Flagged $Work)").await;
    (world, client)
}

#[tokio::test]
async fn keys_find_messages() {
    let (_world, mut client) = five().await;
    for (key, found) in [
        ("ALL", " 1 2 3 4 5"),
        ("SEEN", " 1 2"),
        ("UNSEEN", " 3 4 5"),
        ("NEW", ""),
        ("OLD", " 1 2 3 4 5"),
        ("RECENT", ""),
        ("FLAGGED KEYWORD $work", " 3"),
        ("UNKEYWORD $Work UNSEEN", " 4 5"),
        ("FROM ann", " 1 3"),
        ("OR FROM bob SUBJECT report", " 2 4 5"),
        ("NOT (OR FROM bob FROM ann)", " 4"),
        ("SUBJECT LUNCH", " 1 2"),
        ("SUBJECT {7+}\r\nGrüße", " 3"),
        ("CHARSET UTF-8 SUBJECT {7+}\r\nGRÜßE", " 3"),
        ("BODY sushi", " 1 3"),
        ("TEXT soba", " 5"),
        ("TEXT \"\"", " 1 2 3 4 5"),
        ("TO list", " 1 2 3 4 5"),
        ("HEADER Subject \"\"", " 1 2 3 4 5"),
        ("HEADER X-None \"\"", ""),
        ("LARGER 3000", " 4"),
        ("SMALLER 3000", " 1 2 3 5"),
        ("SENTON 2-Dec-2025", " 2"),
        ("SENTSINCE 4-Dec-2025", " 4 5"),
        ("SENTBEFORE 2-Dec-2025", " 1"),
        ("ON 2-Jan-2026", " 1 2 3 4 5"),
        ("BEFORE 2-Jan-2026", ""),
        ("SINCE 3-Jan-2026", ""),
        ("YOUNGER 10", " 1 2 3 4 5"),
        ("OLDER 10", ""),
        ("2:3", " 2 3"),
        ("4:* UNSEEN", " 4 5"),
        ("UID 1,5,99", " 1 5"),
    ] {
        let expected = format!("SEARCH{found}");
        client.dialogue(&format!("SEARCH {key}"), &[&expected], "OK ").await;
    }
    client.fails("SEARCH 6", "BAD [CLIENTBUG] ").await;
    client.fails("SEARCH MODSEQ 1", "BAD ").await;
    client.fails("SEARCH CHARSET KOI8-R SUBJECT x", "NO [BADCHARSET (UTF-8 US-ASCII)] ").await;
}

#[tokio::test]
async fn return_options_shape_the_answer() {
    let (_world, mut client) = five().await;
    let mut expect = async |command: &str, rest: &str| {
        let answer = client.command(command).await;
        let tag = answer.untagged[0].split('"').nth(1).unwrap().to_owned();
        assert_eq!(answer.untagged, [format!("ESEARCH (TAG \"{tag}\"){rest}")], "{command}");
        assert!(answer.tagged.starts_with("OK "));
    };
    expect("SEARCH RETURN () UNSEEN", " ALL 3:5").await;
    expect("SEARCH RETURN (MIN MAX COUNT) UNSEEN", " MIN 3 MAX 5 COUNT 3").await;
    expect("UID SEARCH RETURN (ALL COUNT) UNSEEN", " UID ALL 3:5 COUNT 3").await;
    expect("SEARCH RETURN (MIN COUNT) FROM nobody", " COUNT 0").await;
    expect("SEARCH RETURN (ALL) FROM nobody", "").await;
}

#[tokio::test]
async fn imap4rev2_answers_with_esearch_always() {
    let (world, _client) = five().await;
    let mut client = world.login("alice").await;
    client.ok("ENABLE IMAP4rev2").await;
    client.ok("SELECT INBOX").await;
    let tag = client.begin("UID SEARCH FROM ann").await;
    let answer = client.finish(&tag).await;
    assert_eq!(answer.untagged, [format!("ESEARCH (TAG \"{tag}\") UID ALL 1,3")]);
}

#[tokio::test]
async fn the_saved_result_follows_the_messages() {
    let (_world, mut client) = five().await;
    client.dialogue("SEARCH RETURN (SAVE) UNSEEN", &[], "OK ").await;
    client.dialogue("FETCH $ UID", &["3 FETCH (UID 3)", "4 FETCH (UID 4)", "5 FETCH (UID 5)"], "OK ").await;
    client.ok("STORE 1,4 +FLAGS.SILENT (\\Deleted)").await;
    client.ok("EXPUNGE").await;
    client.dialogue("FETCH $ UID", &["2 FETCH (UID 3)", "3 FETCH (UID 5)"], "OK ").await;
    client.dialogue("SEARCH NOT $", &["SEARCH 1"], "OK ").await;
    client.dialogue("UID SEARCH UID $ FROM bob", &["SEARCH 5"], "OK ").await;
    // MIN alone saves the one it returns; a failed search leaves nothing, a bad one the old result.
    client.ok("SEARCH RETURN (SAVE MIN) ALL").await;
    client.dialogue("FETCH $ UID", &["1 FETCH (UID 2)"], "OK ").await;
    client.fails("SEARCH RETURN (SAVE) 9", "BAD ").await;
    client.dialogue("FETCH $ UID", &["1 FETCH (UID 2)"], "OK ").await;
    client.fails("SEARCH RETURN (SAVE) CHARSET KOI8-R SUBJECT x", "NO [BADCHARSET ").await;
    client.dialogue("FETCH $ UID", &[], "OK ").await;
    client.ok("SEARCH RETURN (SAVE) ALL").await;
    client.ok("SELECT INBOX").await;
    client.dialogue("FETCH $ UID", &[], "OK ").await;
}

/// A saved result may have very many ranges, and be named very often.
#[tokio::test]
async fn saved_results_in_one_search_have_a_limit() {
    let world = World::with(|config| config.imap.max_set_ranges = 3).await;
    let message = crate::support::message("x");
    world.put("alice", "INBOX", &[message.as_str(); 8]).await;
    let mut client = world.select("alice").await;
    for n in [1, 3, 5, 7] {
        client.ok(&format!("STORE {n} +FLAGS.SILENT (\\Seen)")).await;
    }
    client.ok("SEARCH RETURN (SAVE) SEEN").await;
    client.dialogue("SEARCH $ NOT 3,4,5", &["SEARCH 1 7"], "OK ").await;
    client.dialogue("SEARCH NOT $ UID $", &["SEARCH"], "OK ").await;
    client.fails("SEARCH OR $ OR $ $", "NO [LIMIT] ").await;
}

#[tokio::test]
async fn a_search_of_too_many_keys_is_refused() {
    let world = World::with(|config| config.imap.search.max_keys = 3).await;
    let mut client = world.select("alice").await;
    client.ok("SEARCH SEEN DRAFT").await;
    client.fails("SEARCH SEEN SEEN SEEN SEEN SEEN", "NO [LIMIT] ").await;
}
