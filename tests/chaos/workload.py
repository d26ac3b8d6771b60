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
# Of who reads everything at the end; nobody is lost by then, but the machine may be busy.
AUDIT_TIMEOUT = 300
MAILBOXES = ("INBOX", "Archive")
# An account with copies of what it forwards.
FORWARDER = f"forwarder@{DOMAIN}"
# Messages that are read at a time.
READ = 50


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
    """Sends a message; what its sender may believe, and the recipients that it cannot be for."""
    try:
        return "acknowledged", set(connection.sendmail(sender, recipients, message))
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
        return "refused", set()
    except OSError:  # and all that smtplib raises beside
        return "unknown", set()


class Sender(Client):
    """Mail from other hosts to one or more accounts. What FORWARDER gets, the first of them gets too, and somebody elsewhere."""

    def __init__(self, cluster, ledger, seed, accounts):
        super().__init__(cluster, ledger, seed)
        self.accounts = accounts

    def session(self):
        with_forwarding = lambda accounts: accounts | ({self.accounts[0]} if FORWARDER in accounts else set())
        with smtplib.SMTP("127.0.0.1", self.cluster.port("smtp"), timeout=TIMEOUT) as connection:
            while not self.stopped.is_set():
                token = self.token()
                recipients = self.random.sample([*self.accounts, FORWARDER], self.random.randint(1, min(3, len(self.accounts))))
                forwarded = FORWARDER in recipients
                if forwarded:
                    self.ledger.leaving(token)
                outcome, refused = smtp_outcome(connection, "driver@elsewhere.test", recipients, self.message(token))
                self.worked |= outcome == "acknowledged"
                reached = with_forwarding(set(recipients) - refused)
                for account in with_forwarding(set(recipients)):
                    self.ledger.arrives(account, token, outcome if account in reached else "refused")
                if forwarded:
                    self.ledger.leaves(token, outcome if FORWARDER in reached else "refused")
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
                outcome, _ = smtp_outcome(connection, self.account, ["somebody@elsewhere.test"],
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
            # If the flag was refused, there is nothing to expunge, and that succeeds.
            gone = lambda box, flags: None if "\\Deleted" in flags else (box, flags)
            self.change(token, gone, lambda: imap.uid("EXPUNGE", uid))

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


def connect(cluster, account, process=None, timeout=TIMEOUT):
    """A session that is logged in, at this process or any."""
    imap = imaplib.IMAP4("127.0.0.1", cluster.port("imap", process), timeout=timeout)
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


def contents(cluster, account, process=None):
    """{token: [(mailbox, flags), ...]} of an account; reads each message whole."""
    imap = connect(cluster, account, process, AUDIT_TIMEOUT)
    found = {}
    for mailbox in MAILBOXES:
        check(imap.select(mailbox, readonly=True))
        listed = listing(imap)
        for at in range(0, len(listed), READ):
            part = {uid: (token, flags) for uid, token, flags in listed[at:at + READ]}
            bodies = [item for item in check(imap.uid("FETCH", ",".join(part), "(UID BODY.PEEK[])")) if isinstance(item, tuple)]
            assert len(bodies) == len(part), f"{len(part)} messages of {account} have {len(bodies)} bodies"
            for head, body in bodies:
                token, flags = part[re.search(rb"UID (\d+)", head)[1].decode()]
                assert f"Subject: {token}\r\n".encode() in body, f"the body of {token} is another's"
                found.setdefault(token, []).append((mailbox, flags))
    imap.logout()
    return found
