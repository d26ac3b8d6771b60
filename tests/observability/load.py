"""What users, other hosts and intruders do, over and over, so that every metric moves."""

import imaplib
import poplib
import smtplib
import socket
import socketserver
import ssl
import threading
import time

from service import DOMAIN, PASSWORD, free_ports

TIMEOUT = 20
ALICE, BOB = f"alice@{DOMAIN}", f"bob@{DOMAIN}"
STRANGER = "stranger@elsewhere.test"


class _Receiver(socketserver.StreamRequestHandler):
    """A host elsewhere: as much of RFC 5321 and RFC 3207 as a relay needs."""

    def handle(self):
        try:
            self._converse()
        except (OSError, ssl.SSLError):
            pass  # the relay is gone

    def _converse(self):
        answers = self.server.answers
        self._say("220 receiver.test")
        while line := self.rfile.readline():
            verb = line[:8].upper().strip()
            if verb == b"STARTTLS":
                self._say("220 2.0.0 go ahead")
                stream = self.server.tls.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = stream.makefile("rb"), stream.makefile("wb", 0)
            elif verb[:4] == b"EHLO":
                self._say("250-receiver.test\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES")
            elif verb[:4] == b"DATA":
                self._say("354 go on")
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self._say("250 2.0.0 taken")
            elif verb[:4] == b"QUIT":
                self._say("221 2.0.0 bye")
                return
            else:
                self._say(answers.get(verb[:4].decode(), "250 2.0.0 ok"))

    def _say(self, text):
        self.wfile.write(text.encode() + b"\r\n")


class Receiver(socketserver.ThreadingTCPServer):
    """Listens from its making; `answers` are replies to verbs, in place of 250."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, certificate, key, answers=None):
        super().__init__(("127.0.0.1", 0), _Receiver)
        self.port, self.answers = self.server_address[1], answers or {}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate, key)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def elsewhere(folder):
    """Hosts elsewhere: the port by the domain that is routed to it. One takes all, one takes us for spammers, one is busy, one is not there."""
    certificate = (folder / "cert.pem", folder / "key.pem")
    ports = {
        "good.test": Receiver(*certificate).port,
        "bad.test": Receiver(*certificate, {"RCPT": "550 5.7.1 looks like spam"}).port,
        "busy.test": Receiver(*certificate, {"MAIL": "451 4.3.2 come back later"}).port,
    }
    return {**ports, "absent.test": free_ports(1)[0]}


def message(sender, recipient, subject, size=400):
    lines = "\r\n".join("x" * 76 for _ in range(0, size, 78))
    return f"From: {sender}\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\n{lines}\r\n".encode()


class Load:
    """Clients, each a thread that repeats its step until the load is stopped."""

    STEPS = ("receive", "submit", "read", "idle", "fetch_by_pop3", "guess_passwords", "be_rejected")

    def __init__(self, service):
        self.ports, self.stopped, self.number = service.ports, threading.Event(), 0
        self.rounds, self.failures = dict.fromkeys(self.STEPS, 0), {}
        self.threads = [threading.Thread(target=self._repeat, args=(name,), daemon=True) for name in self.STEPS]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(2 * TIMEOUT)

    def check(self):
        """All clients got what they wanted, at least once."""
        idle = {name: self.failures.get(name) for name, rounds in self.rounds.items() if not rounds}
        if idle:
            raise RuntimeError(f"clients without a single success: {idle}")

    def _repeat(self, name):
        while not self.stopped.is_set():
            try:
                getattr(self, name)()
                self.rounds[name] += 1
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, poplib.error_proto) as error:
                self.failures[name] = error
            self.stopped.wait(0.5)

    def _smtp(self, protocol="smtp"):
        return smtplib.SMTP("127.0.0.1", self.ports[protocol], local_hostname="client.test", timeout=TIMEOUT)

    def receive(self):
        """Mail from another host: small, and large enough to be an object."""
        with self._smtp() as smtp:
            for size in (400, 400, 400, 60_000):
                smtp.sendmail(STRANGER, [ALICE, BOB], message(STRANGER, ALICE, "hello", size))

    def submit(self):
        """A user writes to all kinds of hosts, over TLS."""
        with self._smtp("submission") as smtp:
            smtp.starttls(context=_untrusting())
            smtp.login(ALICE, PASSWORD)
            for domain in ("good.test", "bad.test", "busy.test", "absent.test"):
                recipient = f"somebody@{domain}"
                smtp.sendmail(ALICE, [recipient], message(ALICE, recipient, "hello"))

    def read(self):
        """A user lists, reads, flags, appends and deletes mail."""
        with imaplib.IMAP4_SSL("127.0.0.1", self.ports["imaps"], ssl_context=_untrusting(), timeout=TIMEOUT) as imap:
            imap.login(ALICE, PASSWORD)
            imap.select("INBOX")
            imap.search(None, "UNSEEN")
            imap.fetch("1:*", "(UID FLAGS ENVELOPE)")
            imap.fetch("1:5", "(BODY.PEEK[])")
            imap.store("1", "+FLAGS", r"(\Deleted)")
            imap.append("INBOX", None, None, message(ALICE, BOB, "a draft"))
            imap.expunge()
            imap.status("Nowhere", "(MESSAGES)")  # refused

    def idle(self):
        with socket.create_connection(("127.0.0.1", self.ports["imap"]), timeout=TIMEOUT) as stream:
            lines = stream.makefile("rb")
            lines.readline()
            for line in (f'a LOGIN {BOB} "{PASSWORD}"', "b SELECT INBOX"):
                stream.sendall(line.encode() + b"\r\n")
                while not lines.readline().startswith(line[:2].encode()):
                    pass
            stream.sendall(b"c IDLE\r\n")
            self.stopped.wait(5)
            stream.sendall(b"DONE\r\n")
            while (line := lines.readline()) and not line.startswith(b"c "):
                pass

    def fetch_by_pop3(self):
        pop = poplib.POP3("127.0.0.1", self.ports["pop3"], timeout=TIMEOUT)
        pop.user(BOB)
        pop.pass_(PASSWORD)
        pop.retr(1)
        pop.quit()

    def guess_passwords(self):
        """At every door, each with a connection of its own."""
        wrong = "not-the-password"
        with self._smtp("submission") as smtp:
            try:
                smtp.login(ALICE, wrong)
            except smtplib.SMTPAuthenticationError:
                pass
        imap = imaplib.IMAP4("127.0.0.1", self.ports["imap"], timeout=TIMEOUT)
        try:
            imap.login(ALICE, wrong)
        except imaplib.IMAP4.error:
            imap.shutdown()
        pop = poplib.POP3("127.0.0.1", self.ports["pop3"], timeout=TIMEOUT)
        try:
            pop.user(ALICE)
            pop.pass_(wrong)
        except poplib.error_proto:
            pop.close()

    def be_rejected(self):
        """Unknown recipients, an open relay that is none, a command that is none, a sender whose domain cannot be looked up."""
        with self._smtp() as smtp:
            smtp.ehlo()
            smtp.docmd("XYZZY")
            # What is asked about a sender is given up with the transaction, and awaited at its end.
            try:
                smtp.sendmail("somebody@broken.test", [f"alice@{DOMAIN}"], "Subject: broken\r\n\r\nx\r\n")
            except smtplib.SMTPException:
                pass
            smtp.rset()
            smtp.mail(STRANGER)
            for recipient in (f"nobody@{DOMAIN}", "somebody@good.test"):
                smtp.rcpt(recipient)


def _untrusting():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
