//! CREATE, DELETE, RENAME, SUBSCRIBE, STATUS, NAMESPACE and QUOTA.

use crate::support::{World, message};

#[tokio::test]
async fn create_delete_and_rename_say_what_is_wrong() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.ok("CREATE Work/2026/").await;
    client.fails("CREATE Work/2026", "NO [ALREADYEXISTS] ").await;
    client.fails("CREATE inbox", "NO [ALREADYEXISTS] ").await;
    client.fails("CREATE Work//x", "NO [CANNOT] ").await;
    client.fails("CREATE \"a*b\"", "NO [CANNOT] ").await;
    client.fails("DELETE Work", "NO [HASCHILDREN] ").await;
    client.fails("DELETE INBOX", "NO [CANNOT] ").await;
    client.fails("DELETE Nowhere", "NO [NONEXISTENT] ").await;
    client.fails("RENAME Nowhere Somewhere", "NO [NONEXISTENT] ").await;
    client.fails("RENAME Work Drafts", "NO [ALREADYEXISTS] ").await;
    client.fails("RENAME Work Work/below", "NO [CANNOT] ").await;
    client.dialogue("RENAME Work Job", &[], "OK ").await;
    client.ok("STATUS Job/2026 (MESSAGES)").await;
    client.ok("DELETE Job/2026").await;
    client.ok("DELETE Job").await;
    client.fails("STATUS Job (MESSAGES)", "NO [NONEXISTENT] ").await;
}

#[tokio::test]
async fn rename_tells_a_client_of_imap4rev2_the_old_name() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.dialogue("ENABLE IMAP4rev2", &["ENABLED IMAP4rev2"], "OK ").await;
    client.ok("CREATE Work").await;
    client.dialogue("RENAME Work Job", &["LIST () \"/\" Job (\"OLDNAME\" (Work))"], "OK ").await;
}

#[tokio::test]
async fn renaming_inbox_moves_its_messages_and_leaves_it() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one")]).await;
    let mut client = world.login("alice").await;
    client.ok("RENAME INBOX Old").await;
    client.dialogue("STATUS INBOX (MESSAGES)", &["STATUS INBOX (MESSAGES 0)"], "OK ").await;
    client.dialogue("STATUS Old (MESSAGES)", &["STATUS Old (MESSAGES 1)"], "OK ").await;
}

#[tokio::test]
async fn create_gives_a_special_use_once() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.fails("CREATE Mine (USE (\\Sent))", "NO [USEATTR] ").await;
    client.fails("CREATE Mine (USE (\\All))", "NO [USEATTR] ").await;
    client.fails("CREATE Mine (USE (\\Sent \\Trash))", "NO [USEATTR] ").await;
    client.ok("DELETE Archive").await;
    client.ok("CREATE Mine (USE (\\Archive))").await;
    client.dialogue("LIST \"\" Mine", &["LIST (\\HasNoChildren \\Archive) \"/\" Mine"], "OK ").await;
}

#[tokio::test]
async fn status_counts_what_there_is() {
    let world = World::new().await;
    world.put("alice", "INBOX", &[&message("one"), &message("two")]).await;
    let mut client = world.select("alice").await;
    client.ok("STORE 1 +FLAGS (\\Seen \\Deleted)").await;
    let size = 2 * message("one").len();
    let one = message("one").len();
    let answer =
        client.ok("STATUS INBOX (MESSAGES UIDNEXT UNSEEN DELETED SIZE RECENT DELETED-STORAGE)").await;
    let expected = format!(
        "STATUS INBOX (MESSAGES 2 UIDNEXT 3 UNSEEN 1 DELETED 1 SIZE {size} RECENT 0 DELETED-STORAGE {one})"
    );
    assert_eq!(answer, [expected]);
    let answer = client.ok("STATUS INBOX (UIDVALIDITY APPENDLIMIT)").await;
    assert!(answer[0].ends_with(" APPENDLIMIT 52428800)"), "{answer:?}");
    client.fails("STATUS INBOX (HIGHESTMODSEQ)", "BAD ").await;
}

#[tokio::test]
async fn names_travel_in_the_encoding_of_the_session() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.ok("CREATE &ZeVnLIqe-").await;
    client.dialogue("LIST \"\" &ZeVnLIqe-", &["LIST (\\HasNoChildren) \"/\" &ZeVnLIqe-"], "OK ").await;
    client.fails("CREATE \"日本語\"", "BAD ").await;
    client.dialogue("ENABLE UTF8=ACCEPT X-UNKNOWN", &["ENABLED UTF8=ACCEPT"], "OK ").await;
    client.dialogue("LIST \"\" \"日本語\"", &["LIST (\\HasNoChildren) \"/\" \"日本語\""], "OK ").await;
    client.fails("CREATE \"日本語\"", "NO [ALREADYEXISTS] ").await;
}

#[tokio::test]
async fn everything_is_in_the_personal_namespace() {
    let world = World::new().await;
    let mut client = world.login("alice").await;
    client.dialogue("NAMESPACE", &["NAMESPACE ((\"\" \"/\")) NIL NIL"], "OK ").await;
}

#[tokio::test]
async fn quota_tells_storage_in_units_of_1024_octets() {
    let world = World::new().await;
    world.put("carol", "INBOX", &[&message(&"x".repeat(600))]).await;
    let mut client = world.login("carol").await;
    client.dialogue("GETQUOTAROOT INBOX", &["QUOTAROOT INBOX \"\"", "QUOTA \"\" (STORAGE 2 1)"], "OK ").await;
    client.dialogue("GETQUOTA \"\"", &["QUOTA \"\" (STORAGE 2 1)"], "OK ").await;
    client.fails("GETQUOTA other", "NO [NONEXISTENT] ").await;
    client.fails("GETQUOTAROOT Nowhere", "NO [NONEXISTENT] ").await;
    client.fails("SETQUOTA \"\" (STORAGE 9)", "NO [NOPERM] ").await;
    let mut unlimited = world.login("alice").await;
    unlimited.dialogue("GETQUOTA \"\"", &["QUOTA \"\" ()"], "OK ").await;
}
