"""Reads and manages mail with Python's imaplib: what a user's program does in a day."""

import email
import imaplib
import os
import ssl

USER = os.environ["USER"]
PASSWORD = os.environ["PASSWORD"]
context = ssl.create_default_context(cafile=os.environ["CERTIFICATE"])


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def message(subject, body="A body"):
    return (f"From: carol@elsewhere.test\r\nTo: {USER}\r\nSubject: {subject}\r\n"
            f"Message-ID: <{subject}@elsewhere.test>\r\nDate: Mon, 06 Jul 2026 09:00:00 +0900\r\n"
            f"\r\n{body}\r\n").encode()


# STARTTLS on the plain port, with the certificate verified.
imap = imaplib.IMAP4("localhost", int(os.environ["IMAP_PORT"]), timeout=20)
assert "STARTTLS" in imap.capabilities, imap.capabilities
ok(imap.starttls(ssl_context=context))
ok(imap.login(USER, PASSWORD))
assert imap.logout()[0] == "BYE"

imap = imaplib.IMAP4_SSL("localhost", int(os.environ["IMAPS_PORT"]), ssl_context=context, timeout=20)
for wrong in ("wrong password", ""):
    try:
        imap.login(USER, wrong or "x")
    except imaplib.IMAP4.error as error:
        assert "AUTHENTICATIONFAILED" in str(error), error
    else:
        raise AssertionError("a wrong password was taken")
ok(imap.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode()))
capabilities = ok(imap.capability())[0].decode().split()
for name in ("IMAP4rev1", "IMAP4rev2", "IDLE", "UIDPLUS", "MOVE", "SPECIAL-USE", "ESEARCH", "LITERAL+", "ENABLE",
             "NAMESPACE", "UNSELECT", "QUOTA", "LIST-EXTENDED", "LIST-STATUS"):
    assert name in capabilities, (name, capabilities)

# Mailboxes: the ones an account begins with, and a hierarchy of one's own with a name beyond ASCII.
listed = b"\n".join(ok(imap.list()))
for use in (b"\\Drafts", b"\\Sent", b"\\Trash", b"\\Junk", b"\\Archive"):
    assert use in listed, listed
ok(imap.create('"Travel/Tokyo &ZeVnLIqe-"'))  # 日本語 in modified UTF-7
assert b"Travel" in b"\n".join(ok(imap.list('""', "*")))
ok(imap.rename('"Travel/Tokyo &ZeVnLIqe-"', "Travel/Osaka"))
ok(imap.subscribe("Travel/Osaka"))
assert b"Travel/Osaka" in b"\n".join(ok(imap.lsub('""', "*")))
assert imap.create("Travel/Osaka")[0] == "NO"
assert imap.select("Nowhere")[0] == "NO"

# APPEND with flags, FETCH of every kind.
for number in range(1, 11):
    flags = "(\\Seen)" if number % 2 else None
    ok(imap.append("INBOX", flags, None, message(f"mail-{number}", "x" * number)))
assert ok(imap.select("INBOX")) == [b"10"]
raw = ok(imap.fetch("3", "(UID FLAGS RFC822.SIZE BODY.PEEK[])"))
assert raw[0][1] == message("mail-3", "xxx"), raw
headers = email.message_from_bytes(ok(imap.fetch("3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))[0][1])
assert headers["Subject"] == "mail-3"
structure = ok(imap.fetch("3", "(ENVELOPE BODYSTRUCTURE INTERNALDATE)"))[0]
assert b'"mail-3"' in structure and b'"PLAIN"' in structure.upper(), structure
assert ok(imap.fetch("3", "(BODY.PEEK[TEXT]<1.1>)"))[0][1] == b"x"
try:
    imap.fetch("10:12", "(UID)")
except imaplib.IMAP4.error as error:
    assert "BAD" in str(error), error
else:
    raise AssertionError("RFC 9051 §9 seq-number: a number that no message has is an error")

# SEARCH.
assert ok(imap.search(None, "SUBJECT", "mail-10")) == [b"10"]
assert ok(imap.search(None, "UNSEEN")) == [b"2 4 6 8 10"]
assert ok(imap.search(None, "BODY", "xxxxxxxxx")) == [b"9 10"]
assert ok(imap.search(None, "NOT", "SEEN", "LARGER", "1", "2:5")) == [b"2 4"]
assert ok(imap.search("UTF-8", "OR", "SUBJECT", "mail-1", "FROM", "nobody")) == [b"1 10"]
assert ok(imap.search(None, "SINCE", "1-Jan-2020", "BEFORE", "1-Jan-2021")) == [b""]

# STORE, COPY, MOVE and EXPUNGE; sequence numbers close up, UIDs stay.
ok(imap.store("1:3", "+FLAGS", "(\\Flagged $Work)"))
assert ok(imap.search(None, "KEYWORD", "$Work")) == [b"1 2 3"]
ok(imap.store("2", "-FLAGS.SILENT", "($Work)"))
ok(imap.copy("1:2", "Travel/Osaka"))
assert imap.copy("1", "Nowhere")[0] == "NO"
ok(imap.uid("MOVE", "9:10", "Archive"))
ok(imap.store("1", "+FLAGS.SILENT", "(\\Deleted)"))
ok(imap.expunge())
assert ok(imap.search(None, "ALL")) == [b"1 2 3 4 5 6 7"]
assert ok(imap.uid("SEARCH", "ALL")) == [b"2 3 4 5 6 7 8"]
status = ok(imap.status("Archive", "(MESSAGES UIDNEXT UNSEEN)"))[0]
assert b"MESSAGES 2" in status and b"UIDNEXT 3" in status and b"UNSEEN 1" in status, status
ok(imap.close())

# What was copied has its flags; what was deleted is gone after a new login too.
ok(imap.select("Travel/Osaka", readonly=True))
assert b"\\Flagged" in ok(imap.fetch("1", "(FLAGS)"))[0]
assert imap.store("1", "+FLAGS", "(\\Seen)")[0] == "NO", "a mailbox that was opened to read cannot be changed"
ok(imap.unselect())
ok(imap.delete("Travel/Osaka"))
assert b"STORAGE" in ok(imap.getquotaroot("INBOX"))[1][0]
assert imap.logout()[0] == "BYE"
