//! FETCH: every item, sections, partials, BINARY, and what happens when a body cannot be read.

use crate::support::{Client, World, message};

/// A multipart with a text in quoted-printable, an attachment in base64, and a message with parts of its own.
const NESTED: &str = concat!(
    "From: Ann <ann@example.test>\r\n",
    "To: bob@example.test\r\n",
    "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n",
    "Date: Thu, 1 Jan 2026 10:00:00 +0000\r\n",
    "Message-ID: <1@example.test>\r\n",
    "X-Odd: one\r\n",
    "MIME-Version: 1.0\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "\r\n",
    "--b\r\n",
    "Content-Type: text/plain; charset=utf-8\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "\r\n",
    "Gr=C3=BC=C3=9Fe\r\n",
    "--b\r\n",
    "Content-Type: application/octet-stream; name=x\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Disposition: attachment; filename=x\r\n",
    "\r\n",
    "AAEC\r\n",
    "--b\r\n",
    "Content-Type: message/rfc822\r\n",
    "\r\n",
    "Subject: inner\r\n",
    "\r\n",
    "inner body\r\n",
    "--b\r\n",
    "Content-Transfer-Encoding: x-odd\r\n",
    "\r\n",
    "?\r\n",
    "--b--\r\n",
);

async fn nested() -> (World, Client) {
    let world = World::new().await;
    world.put("alice", "INBOX", &[NESTED]).await;
    let client = world.select("alice").await;
    (world, client)
}

fn literal(text: &str) -> String {
    format!("{{{}}}\r\n{text}", text.len())
}

#[tokio::test]
async fn the_whole_message_comes_back_octet_by_octet_and_is_seen() {
    let (_world, mut client) = nested().await;
    let whole = literal(NESTED);
    client.dialogue("FETCH 1 BODY.PEEK[]", &[&format!("1 FETCH (BODY[] {whole})")], "OK ").await;
    client.dialogue("FETCH 1 FLAGS", &["1 FETCH (FLAGS ())"], "OK ").await;
    client.dialogue("FETCH 1 RFC822", &[&format!("1 FETCH (RFC822 {whole} FLAGS (\\Seen))")], "OK ").await;
    client.dialogue("FETCH 1 BODY[]", &[&format!("1 FETCH (BODY[] {whole})")], "OK ").await;
}

#[tokio::test]
async fn sections_name_headers_texts_and_parts() {
    let (_world, mut client) = nested().await;
    let (header, text) = NESTED.split_once("\r\n\r\n").unwrap();
    let header = format!("{header}\r\n\r\n");
    for (section, expected) in [
        ("HEADER", header.as_str()),
        ("TEXT", text),
        (
            "HEADER.FIELDS (Subject to)",
            "To: bob@example.test\r\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\n",
        ),
        ("HEADER.FIELDS (x-odd)", "X-Odd: one\r\n\r\n"),
        ("1", "Gr=C3=BC=C3=9Fe"),
        (
            "2.MIME",
            "Content-Type: application/octet-stream; name=x\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=x\r\n\r\n",
        ),
        ("3", "Subject: inner\r\n\r\ninner body"),
        ("3.HEADER", "Subject: inner\r\n\r\n"),
        ("3.TEXT", "inner body"),
        ("3.1", "inner body"),
        ("3.HEADER.FIELDS (SUBJECT)", "Subject: inner\r\n\r\n"),
    ] {
        let expected = format!("1 FETCH (BODY[{section}] {})", literal(expected));
        client.dialogue(&format!("FETCH 1 BODY.PEEK[{section}]"), &[&expected], "OK ").await;
    }
    let others = client.ok("FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (From To Subject Date Message-ID)]").await;
    assert!(
        others[0].contains(
            "X-Odd: one\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n)"
        )
    );
    client.dialogue("FETCH 1 BODY.PEEK[9]", &["1 FETCH (BODY[9] NIL)"], "OK ").await;
    client.dialogue("FETCH 1 BODY.PEEK[1.HEADER]", &["1 FETCH (BODY[1.HEADER] NIL)"], "OK ").await;
}

#[tokio::test]
async fn several_sections_come_each_with_its_own_octets() {
    let (_world, mut client) = nested().await;
    let (header, text) = NESTED.split_once("\r\n\r\n").unwrap();
    let (header, text) = (literal(&format!("{header}\r\n\r\n")), literal(text));
    for (items, expected) in [
        (
            "RFC822.HEADER BODY.PEEK[3.TEXT]",
            format!("RFC822.HEADER {header} BODY[3.TEXT] {{10}}\r\ninner body"),
        ),
        ("RFC822.HEADER BODY.PEEK[TEXT]", format!("RFC822.HEADER {header} BODY[TEXT] {text}")),
        ("BODY.PEEK[TEXT] BODY.PEEK[HEADER]", format!("BODY[TEXT] {text} BODY[HEADER] {header}")),
        (
            "BODY.PEEK[9] BODY.PEEK[3.TEXT] BODY.PEEK[1]<4.2>",
            "BODY[9] NIL BODY[3.TEXT] {10}\r\ninner body BODY[1]<4> {2}\r\n3=".into(),
        ),
    ] {
        client.dialogue(&format!("FETCH 1 ({items})"), &[&format!("1 FETCH ({expected})")], "OK ").await;
    }
}

#[tokio::test]
async fn partials_are_cut_to_what_is_there() {
    let (_world, mut client) = nested().await;
    client.dialogue("FETCH 1 BODY.PEEK[]<6.3>", &["1 FETCH (BODY[]<6> {3}\r\nAnn)"], "OK ").await;
    client
        .dialogue("FETCH 1 BODY.PEEK[3.TEXT]<6.99>", &["1 FETCH (BODY[3.TEXT]<6> {4}\r\nbody)"], "OK ")
        .await;
    let beyond = client.ok("FETCH 1 BODY.PEEK[3.TEXT]<99.9>").await;
    assert!(
        beyond == ["1 FETCH (BODY[3.TEXT]<99> \"\")"] || beyond == ["1 FETCH (BODY[3.TEXT]<99> {0}\r\n)"],
        "{beyond:?}"
    );
    client
        .dialogue(
            "FETCH 1 BODY.PEEK[HEADER.FIELDS (To)]<0.3>",
            &["1 FETCH (BODY[HEADER.FIELDS (To)]<0> {3}\r\nTo:)"],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn binary_undoes_the_transfer_encoding() {
    let (_world, mut client) = nested().await;
    client.dialogue("FETCH 1 BINARY.PEEK[1]", &["1 FETCH (BINARY[1] {7}\r\nGrüße)"], "OK ").await;
    client.dialogue("FETCH 1 BINARY.PEEK[1]<2.2>", &["1 FETCH (BINARY[1]<2> {2}\r\nü)"], "OK ").await;
    client.dialogue("FETCH 1 BINARY.PEEK[2]", &["1 FETCH (BINARY[2] ~{3}\r\n\0\u{1}\u{2})"], "OK ").await;
    client
        .dialogue(
            "FETCH 1 (BINARY.SIZE[1] BINARY.SIZE[2])",
            &["1 FETCH (BINARY.SIZE[1] 7 BINARY.SIZE[2] 3)"],
            "OK ",
        )
        .await;
    client.dialogue("FETCH 1 BINARY.PEEK[9]", &["1 FETCH (BINARY[9] NIL)"], "OK ").await;
    client
        .dialogue("FETCH 1 (UID BINARY.PEEK[4] FLAGS)", &["1 FETCH (UID 1 FLAGS ())"], "NO [UNKNOWN-CTE] ")
        .await;
}

#[tokio::test]
async fn structure_and_envelope_tell_the_parts() {
    let (_world, mut client) = nested().await;
    let structure = client.ok("FETCH 1 BODYSTRUCTURE").await;
    let expected = concat!(
        "1 FETCH (BODYSTRUCTURE (",
        "(\"text\" \"plain\" (\"charset\" \"utf-8\") NIL NIL \"quoted-printable\" 15 0 NIL NIL NIL NIL)",
        "(\"application\" \"octet-stream\" (\"name\" \"x\") NIL NIL \"base64\" 4 NIL (\"attachment\" (\"filename\" \"x\")) NIL NIL)",
    );
    assert!(structure[0].to_lowercase().starts_with(&expected.to_lowercase()), "{structure:?}");
    assert!(
        structure[0]
            .to_lowercase()
            .contains("(\"message\" \"rfc822\" nil nil nil \"7bit\" 28 (nil \"inner\" nil"),
        "{structure:?}"
    );
    assert!(
        structure[0].to_lowercase().ends_with(" \"mixed\" (\"boundary\" \"b\") nil nil nil))"),
        "{structure:?}"
    );
    client
        .dialogue(
            "FETCH 1 ENVELOPE",
            &[concat!(
                "1 FETCH (ENVELOPE (\"Thu, 1 Jan 2026 10:00:00 +0000\" \"=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\" ",
                "((\"Ann\" NIL \"ann\" \"example.test\")) ((\"Ann\" NIL \"ann\" \"example.test\")) ",
                "((\"Ann\" NIL \"ann\" \"example.test\")) ((NIL NIL \"bob\" \"example.test\")) NIL NIL NIL ",
                "\"<1@example.test>\"))",
            )],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn macros_and_old_names() {
    let (_world, mut client) = nested().await;
    let size = NESTED.len();
    client
        .dialogue(
            "FETCH 1 FAST",
            &[&format!("1 FETCH (FLAGS () INTERNALDATE \"02-Jan-2026 03:04:05 +0000\" RFC822.SIZE {size})")],
            "OK ",
        )
        .await;
    let full = client.ok("FETCH 1 FULL").await;
    assert!(full[0].contains(" ENVELOPE (") && full[0].contains(" BODY (("), "{full:?}");
    let (header, _) = NESTED.split_once("\r\n\r\n").unwrap();
    let header = format!("1 FETCH (RFC822.HEADER {})", literal(&format!("{header}\r\n\r\n")));
    client.dialogue("FETCH 1 RFC822.HEADER", &[&header], "OK ").await;
    client.dialogue("FETCH 1 FLAGS", &["1 FETCH (FLAGS ())"], "OK ").await;
    let text = client.ok("FETCH 1 RFC822.TEXT").await;
    assert!(text[0].ends_with(" FLAGS (\\Seen))"), "{text:?}");
}

#[tokio::test]
async fn uid_fetch_always_tells_the_uid() {
    let (_world, mut client) = nested().await;
    client.dialogue("UID FETCH 1:* FLAGS", &["1 FETCH (UID 1 FLAGS ())"], "OK ").await;
    client.dialogue("UID FETCH 7 FLAGS", &[], "OK ").await;
    client.dialogue("UID FETCH 7:* (UID FLAGS)", &["1 FETCH (UID 1 FLAGS ())"], "OK ").await;
    client.fails("FETCH 2 FLAGS", "BAD [CLIENTBUG] ").await;
    client.fails("FETCH 1 (FLAGS MODSEQ)", "BAD ").await;
}

#[tokio::test]
async fn many_messages_come_in_order_and_seen_in_one_transaction() {
    let world = World::new().await;
    let messages: Vec<String> = (1..=200).map(|n| message(&n.to_string())).collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut client = world.select("alice").await;
    let answers = client.ok("FETCH 1:* (UID BODY[TEXT])").await;
    assert_eq!(answers.len(), 200);
    for (n, answer) in (1..).zip(&answers) {
        let text = format!("{n}\r\n");
        assert_eq!(*answer, format!("{n} FETCH (UID {n} BODY[TEXT] {} FLAGS (\\Seen))", literal(&text)));
    }
}

#[tokio::test]
async fn a_large_message_is_streamed_whole_and_in_parts() {
    let world = World::new().await;
    // Larger than every buffer on its way, in base64 and in lines that tell where they are.
    let lines: String = (0..60_000).map(|n| format!("line {n:08}\r\n")).collect();
    let large = format!("Subject: large\r\nContent-Type: text/plain\r\n\r\n{lines}");
    let encoded: String = (0..40_000).map(|_| "QUJDREVGR0hJSktMTU5PUA==\r\n").collect();
    let base64 =
        format!("Subject: b\r\nContent-Transfer-Encoding: base64\r\nContent-Type: x/y\r\n\r\n{encoded}");
    world.put("alice", "INBOX", &[&large, &base64]).await;
    let mut client = world.select("alice").await;
    client.dialogue("FETCH 1 BODY.PEEK[]", &[&format!("1 FETCH (BODY[] {})", literal(&large))], "OK ").await;
    client
        .dialogue(
            "FETCH 1 BODY.PEEK[1]<500000.15>",
            &[&format!("1 FETCH (BODY[1]<500000> {})", literal(&lines[500_000..500_015]))],
            "OK ",
        )
        .await;
    client.dialogue("FETCH 2 BINARY.SIZE[1]", &["2 FETCH (BINARY.SIZE[1] 640000)"], "OK ").await;
    let decoded = "ABCDEFGHIJKLMNOP".repeat(40_000);
    client
        .dialogue("FETCH 2 BINARY.PEEK[1]", &[&format!("2 FETCH (BINARY[1] {})", literal(&decoded))], "OK ")
        .await;
    let piece = literal(&decoded[300_001..300_101]);
    client
        .dialogue(
            "FETCH 2 BINARY.PEEK[1]<300001.100>",
            &[&format!("2 FETCH (BINARY[1]<300001> {piece})")],
            "OK ",
        )
        .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_fails_its_item_and_no_other() {
    let world = World::new().await;
    // Incompressible, so that it is an object of its own.
    let noise: String = (0u64..40_000)
        .map(|n| {
            format!("{:016x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(17).wrapping_mul(n | 1))
        })
        .collect();
    let large = format!("Subject: large\r\n\r\n{noise}\r\n");
    world.put("alice", "INBOX", &[&large, &message("small")]).await;
    let mut client = world.select("alice").await;
    let mut removed = 0;
    let mut folders = vec![world.objects().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                std::fs::remove_file(path).unwrap();
                removed += 1;
            }
        }
    }
    assert!(removed > 0, "the body is no object");
    client
        .dialogue(
            "FETCH 1:2 (RFC822.SIZE BODY.PEEK[TEXT])",
            &[
                &format!("1 FETCH (RFC822.SIZE {})", large.len()),
                &format!("2 FETCH (RFC822.SIZE {} BODY[TEXT] {{7}}\r\nsmall\r\n)", message("small").len()),
            ],
            "NO [UNAVAILABLE] ",
        )
        .await;
    client.ok("FETCH 1 (ENVELOPE BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await;
}

/// Their records are too large to be held together.
#[tokio::test]
async fn messages_of_thousands_of_parts_come_one_after_the_other() {
    let world = World::new().await;
    let parts = "--b\r\n\r\n\r\n".repeat(9_000);
    let messages: Vec<String> = (1..=4)
        .map(|n| format!("Subject: {n}\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{parts}"))
        .collect();
    world.put("alice", "INBOX", &messages.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut client = world.select("alice").await;
    let answers = client.ok("FETCH 1:4 (BODY.PEEK[9000.MIME] BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await;
    assert_eq!(answers.len(), 4);
    for (n, answer) in (1..).zip(&answers) {
        let expected = format!(
            "{n} FETCH (BODY[9000.MIME] {{2}}\r\n\r\n BODY[HEADER.FIELDS (SUBJECT)] {{14}}\r\nSubject: {n}\r\n\r\n)"
        );
        assert_eq!(*answer, expected);
    }
}

/// APPEND and SMTP take no NUL, but an import does.
#[tokio::test]
async fn a_literal_has_no_nul_and_a_literal8_does() {
    let world = World::new().await;
    world.put("alice", "INBOX", &["X-N: a\0b\r\n\r\nc\0d\r\n"]).await;
    let mut client = world.select("alice").await;
    for (item, name, expected) in [
        ("BODY.PEEK[]", "BODY[]", "{17}\r\nX-N: a?b\r\n\r\nc?d\r\n"),
        ("BODY.PEEK[HEADER.FIELDS (X-N)]", "BODY[HEADER.FIELDS (X-N)]", "{12}\r\nX-N: a?b\r\n\r\n"),
        ("RFC822.TEXT", "RFC822.TEXT", "{5}\r\nc?d\r\n"),
        ("BINARY.PEEK[1]", "BINARY[1]", "~{5}\r\nc\0d\r\n"),
    ] {
        let answers = client.ok(&format!("FETCH 1 {item}")).await;
        assert!(answers[0].starts_with(&format!("1 FETCH ({name} {expected}")), "{answers:?}");
    }
}
