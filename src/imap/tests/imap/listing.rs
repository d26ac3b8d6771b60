//! LIST with all its options, and LSUB.

use crate::support::{World, message};

async fn world() -> World {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    for name in ["Work/2025", "Work/2026/May", "Play"] {
        client.ok(&format!("CREATE {name}")).await;
    }
    for name in ["Drafts", "Sent", "Trash", "Junk", "Archive", "INBOX"] {
        client.ok(&format!("UNSUBSCRIBE {name}")).await;
    }
    for name in ["Work/2026/May", "Play", "Gone/away"] {
        client.ok(&format!("SUBSCRIBE {name}")).await;
    }
    world
}

fn names(untagged: &[String]) -> Vec<&str> {
    untagged.iter().map(|line| line.split_once(" \"/\" ").unwrap().1).collect()
}

#[tokio::test]
async fn wildcards_and_references() {
    let world = world().await;
    let mut client = world.login("alice").await;
    client.dialogue("LIST \"\" \"\"", &["LIST (\\Noselect) \"/\" \"\""], "OK ").await;
    let all = client.ok("LIST \"\" *").await;
    assert_eq!(
        names(&all),
        [
            "Archive",
            "Drafts",
            "INBOX",
            "Junk",
            "Play",
            "Sent",
            "Trash",
            "Work",
            "Work/2025",
            "Work/2026",
            "Work/2026/May"
        ]
    );
    let top = client.ok("LIST \"\" %").await;
    assert_eq!(names(&top), ["Archive", "Drafts", "INBOX", "Junk", "Play", "Sent", "Trash", "Work"]);
    assert_eq!(names(&client.ok("LIST Work/ %").await), ["Work/2025", "Work/2026"]);
    assert_eq!(names(&client.ok("LIST \"\" inbox").await), ["INBOX"]);
    assert_eq!(names(&client.ok("LIST \"\" Work/*y").await), ["Work/2026/May"]);
    assert_eq!(names(&client.ok("LIST \"\" (Play W%)").await), ["Play", "Work"]);
}

#[tokio::test]
async fn patterns_that_would_take_long_are_refused() {
    let world = world().await;
    let mut client = world.login("alice").await;
    let pattern = "a*".repeat(450);
    client.dialogue(&format!("LIST \"\" ({pattern} {pattern})"), &[], "OK ").await;
    client.fails(&format!("LIST \"\" ({pattern} {pattern} {pattern})"), "NO [LIMIT] ").await;
}

#[tokio::test]
async fn attributes_tell_children_and_special_uses() {
    let world = world().await;
    let mut client = world.login("alice").await;
    client
        .dialogue(
            "LIST \"\" (Work Sent Play)",
            &[
                "LIST (\\HasNoChildren) \"/\" Play",
                "LIST (\\HasNoChildren \\Sent) \"/\" Sent",
                "LIST (\\HasChildren) \"/\" Work",
            ],
            "OK ",
        )
        .await;
    client
        .dialogue(
            "LIST (SPECIAL-USE) \"\" *",
            &[
                "LIST (\\HasNoChildren \\Archive) \"/\" Archive",
                "LIST (\\HasNoChildren \\Drafts) \"/\" Drafts",
                "LIST (\\HasNoChildren \\Junk) \"/\" Junk",
                "LIST (\\HasNoChildren \\Sent) \"/\" Sent",
                "LIST (\\HasNoChildren \\Trash) \"/\" Trash",
            ],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn subscriptions_are_listed_whether_the_mailbox_exists_or_not() {
    let world = world().await;
    let mut client = world.login("alice").await;
    client
        .dialogue(
            "LIST (SUBSCRIBED) \"\" *",
            &[
                "LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" Gone/away",
                "LIST (\\HasNoChildren \\Subscribed) \"/\" Play",
                "LIST (\\HasNoChildren \\Subscribed) \"/\" Work/2026/May",
            ],
            "OK ",
        )
        .await;
    client
        .dialogue(
            "LIST \"\" P% RETURN (SUBSCRIBED CHILDREN)",
            &["LIST (\\HasNoChildren \\Subscribed) \"/\" Play"],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn recursivematch_tells_of_subscriptions_below() {
    let world = world().await;
    let mut client = world.login("alice").await;
    client
        .dialogue(
            "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %",
            &[
                "LIST (\\NonExistent \\HasNoChildren) \"/\" Gone (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "LIST (\\HasNoChildren \\Subscribed) \"/\" Play",
                "LIST (\\HasChildren) \"/\" Work (\"CHILDINFO\" (\"SUBSCRIBED\"))",
            ],
            "OK ",
        )
        .await;
    client.fails("LIST (RECURSIVEMATCH) \"\" *", "BAD ").await;
    // CHILDINFO does not depend on what the pattern says of the children; that a parent is listed at all does.
    client.ok("SUBSCRIBE Work/2026").await;
    client
        .dialogue(
            "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" W*",
            &[
                "LIST (\\HasChildren \\Subscribed) \"/\" Work/2026 (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "LIST (\\HasNoChildren \\Subscribed) \"/\" Work/2026/May",
            ],
            "OK ",
        )
        .await;
    client
        .dialogue(
            "LIST (SUBSCRIBED) \"\" Work/2026",
            &["LIST (\\HasChildren \\Subscribed) \"/\" Work/2026"],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn status_comes_with_the_list() {
    let world = world().await;
    world.put("alice", "Play", &[&message("one")]).await;
    let mut client = world.login("alice").await;
    client
        .dialogue(
            "LIST (SUBSCRIBED) \"\" (Play Gone/*) RETURN (STATUS (MESSAGES UNSEEN))",
            &[
                "LIST (\\NonExistent \\HasNoChildren \\Subscribed) \"/\" Gone/away",
                "LIST (\\HasNoChildren \\Subscribed) \"/\" Play",
                "STATUS Play (MESSAGES 1 UNSEEN 1)",
            ],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn lsub_answers_for_levels_above_with_noselect() {
    let world = world().await;
    let mut client = world.login("alice").await;
    client
        .dialogue(
            "LSUB \"\" *",
            &["LSUB () \"/\" Gone/away", "LSUB () \"/\" Play", "LSUB () \"/\" Work/2026/May"],
            "OK ",
        )
        .await;
    client
        .dialogue(
            "LSUB \"\" %",
            &["LSUB (\\Noselect) \"/\" Gone", "LSUB () \"/\" Play", "LSUB (\\Noselect) \"/\" Work"],
            "OK ",
        )
        .await;
}
