"""Clients of the cluster: each a thread that goes on until it is told to stop, with any process that answers."""

import imaplib
import random
import re
import smtplib
import threading
import time

DOMAIN = "chaos.test"
PASSWORD = "a-password-of-the-chaos-run"
TIMEOUT = 40
MAILBOXES = ("INBOX", "Archive")


class Client(threading.Thread):
    """Repeats `step` until it is stopped; a fresh connection after each failure."""

    def __init__(self, cluster, ledger, seed):
        super().__init__(daemon=True)
        self.cluster, self.ledger, self.random = cluster, ledger, random.Random(seed)
        self.stopped = threading.Event()
        self.number = 0
        self.worked = False
        self.failure = None

    def run(self):
        while not self.stopped.is_set():
            try:
                self.session()
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error):
                time.sleep(self.random.uniform(0.1, 0.5))
            except Exception as error:  # a mistake of the driver must not pass for a quiet client
                self.failure = error
                raise

    def token(self):
        self.number += 1
        return f"{self.name}-{self.number}"

    def message(self, token, sender=f"driver@{DOMAIN}"):
        """A message with this token; most are small, some hot bodies of many kilobytes, a few large objects."""
        size = self.random.choice([200] * 20 + [20_000] * 4 + [400_000])
        filler = "".join(self.random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=size))
        lines = "\r\n".join(filler[n:n + 76] for n in range(0, size, 76))
        return f"From: {sender}\r\nSubject: {token}\r\nX-Chaos: {token}\r\n\r\n{lines}\r\n".encode()


def smtp_outcome(connection, sender, recipients, message):
    """Sends a message; what its sender may believe."""
    try:
        connection.sendmail(sender, recipients, message)
        return "acknowledged"
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
        return "refused"
    except OSError:  # and all that smtplib raises beside
        return "unknown"


class Sender(Client):
    """Mail from other hosts to one or more accounts."""

    def __init__(self, cluster, ledger, seed, accounts):
        super().__init__(cluster, ledger, seed)
        self.accounts = accounts

    def session(self):
        with smtplib.SMTP("127.0.0.1", self.cluster.port("smtp"), timeout=TIMEOUT) as connection:
            while not self.stopped.is_set():
                token = self.token()
                recipients = self.random.sample(self.accounts, self.random.randint(1, min(3, len(self.accounts))))
                outcome = smtp_outcome(connection, "driver@elsewhere.test", recipients, self.message(token))
                self.worked |= outcome == "acknowledged"
                for account in recipients:
                    self.ledger.arrives(account, token, outcome)
                if outcome == "unknown":
                    return
                time.sleep(self.random.uniform(0, 0.05))


class Submitter(Client):
    """A user's mail to somebody elsewhere."""

    def __init__(self, cluster, ledger, seed, account):
        super().__init__(cluster, ledger, seed)
        self.account = account

    def session(self):
        with smtplib.SMTP("127.0.0.1", self.cluster.port("submission"), timeout=TIMEOUT) as connection:
            connection.login(self.account, PASSWORD)
            while not self.stopped.is_set():
                token = self.token()
                self.ledger.leaving(token)
                outcome = smtp_outcome(connection, self.account, ["somebody@elsewhere.test"],
                                       self.message(token, self.account))
                self.worked |= outcome == "acknowledged"
                self.ledger.leaves(token, outcome)
                if outcome == "unknown":
                    return
                time.sleep(self.random.uniform(0, 0.1))


class Reader(Client):
    """The only user of an account, who appends, marks, moves and removes messages over IMAP."""

    FLAGS = ("\\Seen", "\\Flagged", "$Forwarded")

    def __init__(self, cluster, ledger, seed, account):
        super().__init__(cluster, ledger, seed)
        self.account = account

    def session(self):
        imap = connect(self.cluster, self.account)
        try:
            mailbox = self.random.choice(MAILBOXES)
            check(imap.select(mailbox))
            known = {token: uid for uid, token, _ in listing(imap)}
            for _ in range(self.random.randint(5, 30)):
                if self.stopped.is_set():
                    return
                self.step(imap, mailbox, known)
        finally:
            imap.shutdown()

    def step(self, imap, mailbox, known):
        operation = self.random.choice(["append", "append", "mark", "mark", "unmark", "move", "expunge"])
        if operation == "append" or not known:
            self.append(imap, mailbox, known)
            return
        token = self.random.choice(sorted(known))
        uid = known[token]
        if operation in ("mark", "unmark"):
            flag = self.random.choice(self.FLAGS)
            sign, change = ("+", lambda box, flags: (box, flags | {flag})) if operation == "mark" else \
                ("-", lambda box, flags: (box, flags - {flag}))
            self.change(token, change, lambda: imap.uid("STORE", uid, f"{sign}FLAGS", f"({flag})"))
        elif operation == "move":
            target = next(box for box in MAILBOXES if box != mailbox)
            del known[token]
            self.change(token, lambda _, flags: (target, flags), lambda: imap.uid("MOVE", uid, target))
        else:
            del known[token]
            deleted = lambda box, flags: (box, flags | {"\\Deleted"})
            self.change(token, deleted, lambda: imap.uid("STORE", uid, "+FLAGS", "(\\Deleted)"))
            self.change(token, lambda *_: None, lambda: imap.uid("EXPUNGE", uid))

    def append(self, imap, mailbox, known):
        token = self.token()
        self.ledger.expects(self.account, token, mailbox)
        outcome, answer = attempt(lambda: imap.append(mailbox, None, None, self.message(token)))
        self.ledger.arrives(self.account, token, outcome, mailbox)
        if outcome == "unknown":
            raise ConnectionError("the answer was lost")
        uid = re.search(rb"APPENDUID \d+ (\d+)", answer[0] or b"")
        if uid:
            known[token] = uid[1].decode()

    def change(self, token, change, command):
        outcome, _ = attempt(command)
        self.worked |= outcome == "acknowledged"
        self.ledger.changes(self.account, token, outcome, change)
        if outcome == "unknown":
            raise ConnectionError("the answer was lost")


def connect(cluster, account):
    """A session that is logged in."""
    imap = imaplib.IMAP4("127.0.0.1", cluster.port("imap"), timeout=TIMEOUT)
    imap.login(account, PASSWORD)
    return imap


def attempt(command):
    """The outcome of an IMAP command, and its answer."""
    try:
        status, answer = command()
    except (OSError, imaplib.IMAP4.abort):
        return "unknown", None
    except imaplib.IMAP4.error:
        return "refused", None
    return ("acknowledged" if status == "OK" else "refused"), answer


def check(result):
    status, answer = result
    if status != "OK":
        raise imaplib.IMAP4.error(answer)
    return answer


def listing(imap):
    """(uid, token, flags) of each message of the selected mailbox."""
    found = []
    for item in check(imap.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (X-Chaos)])")):
        if isinstance(item, tuple):
            uid = re.search(rb"UID (\d+)", item[0])[1].decode()
            flags = re.search(rb"FLAGS \(([^)]*)\)", item[0])[1].decode().split()
            token = item[1].split(b":", 1)[1].strip().decode()
            found.append((uid, token, frozenset(flags) - {"\\Recent"}))
    return found


def contents(cluster, account):
    """{token: [(mailbox, flags), ...]} of an account; reads each message whole."""
    imap = connect(cluster, account)
    found = {}
    for mailbox in MAILBOXES:
        check(imap.select(mailbox, readonly=True))
        for uid, token, flags in listing(imap):
            body = check(imap.uid("FETCH", uid, "BODY.PEEK[]"))[0][1]
            assert f"Subject: {token}\r\n".encode() in body, f"the body of {token} is another's"
            found.setdefault(token, []).append((mailbox, flags))
    imap.logout()
    return found
