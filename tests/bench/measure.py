"""The measurements. Each takes a running service and gives numbers; none knows which service it is."""

import contextlib
import imaplib
import socket
import ssl
import subprocess
import threading
import time

from servers import DOMAIN, PASSWORD

SESSIONS = 20
LENGTH = 5000
imaplib._MAXLINE = 10_000_000


def login(server, user):
    imap = imaplib.IMAP4("127.0.0.1", server.imap, timeout=120)
    imap.login(user, PASSWORD)
    return imap


def count(imap, mailbox="INBOX"):
    status, data = imap.status(mailbox, "(MESSAGES)")
    if status != "OK":
        return 0
    return int(data[0].rsplit(b"MESSAGES ", 1)[1].rstrip(b")"))


def smtp_source(server, sessions, messages, user):
    subprocess.run(["smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(LENGTH),
                    "-f", "sender@elsewhere.test", "-t", user, f"127.0.0.1:{server.smtp}"], check=True)


def send(server, users, messages):
    """3,000 messages over 20 sessions: into one mailbox by one smtp-source, into many by 20 with one session each."""
    if len(users) == 1:
        smtp_source(server, SESSIONS, messages, users[0])
        return

    def worker(share):
        for user in share:
            smtp_source(server, 1, messages // len(users), user)

    threads = [threading.Thread(target=worker, args=(users[first::SESSIONS],)) for first in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def throughput(server, users, messages, limit=600):
    """Messages per second from the first connection until all can be read over IMAP."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(login(server, user)) for user in users]
        wanted = [count(reader) + messages // len(users) for reader in readers]
        sender = threading.Thread(target=send, args=(server, users, messages))
        start = time.monotonic()
        sender.start()
        sender.join()
        accepted = time.monotonic() - start
        for reader, expected in zip(readers, wanted):
            while (have := count(reader)) < expected:
                if time.monotonic() - start > limit:
                    raise RuntimeError(f"{server.name}: {have} of {expected} messages after {limit} s")
                time.sleep(0.02)
        return {"accepted": messages / accepted, "readable": messages / (time.monotonic() - start)}


class Session:
    """A client that only reads and counts, so that what is measured is the server."""

    def __init__(self, port, context=None):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.until(b"* OK")

    def until(self, mark):
        """Reads until a line begins with `mark`; gives the number of octets."""
        octets, tail = 0, b"\r\n"
        while True:
            piece = self.sock.recv(1 << 18)
            if not piece:
                raise RuntimeError("the connection was closed")
            octets += len(piece)
            tail = (tail + piece)[-4096 - len(piece):] if len(piece) < 4096 else tail[-200:] + piece
            if b"\r\n" + mark in tail and tail.endswith(b"\r\n"):
                return octets

    def command(self, tag, text):
        self.sock.sendall(f"{tag} {text}\r\n".encode())
        return self.until(f"{tag} OK".encode())

    def idle(self, user):
        self.command("a", f'LOGIN {user} "{PASSWORD}"')
        self.command("b", "SELECT INBOX")
        self.sock.sendall(b"c IDLE\r\n")
        self.until(b"+ ")


def large_message(user, number):
    """A message of about 3 kB with the headers that a list of messages shows."""
    body = "".join(f"{number:06} {line:03} the quick brown fox jumps over the lazy dog\r\n" for line in range(40))
    return (f"Return-Path: <list-{number}@elsewhere.test>\r\nReceived: from a.elsewhere.test (a.elsewhere.test [192.0.2.7])"
            f"\r\n\tby {DOMAIN} with ESMTPS id {number:08x}; Mon, 06 Jul 2026 09:00:00 +0900\r\n"
            f"From: Sender {number} <sender{number}@elsewhere.test>\r\nTo: {user}\r\nSubject: Message number {number}\r\n"
            f"Date: Mon, 06 Jul 2026 09:00:00 +0900\r\nMessage-ID: <{number}@elsewhere.test>\r\nMIME-Version: 1.0\r\n"
            f"References: <{max(number - 1, 0)}@elsewhere.test>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
            f"{body}").encode()


def fill(server, user, messages, batch=50):
    """Appends messages as a client would that moves its mail here; 50 commands are sent before an answer is awaited."""
    session = Session(server.imap)
    session.command("a", f'LOGIN {user} "{PASSWORD}"')
    for first in range(0, messages, batch):
        commands = b""
        for number in range(first, min(first + batch, messages)):
            mail = large_message(user, number)
            flags = "(\\Seen) " if number % 3 else ""
            commands += f"m{number} APPEND INBOX {flags}{{{len(mail)}+}}\r\n".encode() + mail + b"\r\n"
        session.sock.sendall(commands)
        session.until(f"m{number} OK".encode())
    session.command("z", "LOGOUT")


def open_mailbox(server, user, messages):
    """Seconds for login, SELECT, all flags, and the headers that a list of messages shows."""
    start = time.monotonic()
    session = Session(server.imap)
    session.command("a", f'LOGIN {user} "{PASSWORD}"')
    session.command("b", "SELECT INBOX")
    flags = session.command("c", "UID FETCH 1:* (FLAGS)")
    headers = session.command(
        "d", "UID FETCH 1:* (INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE REFERENCES)])")
    taken = time.monotonic() - start
    if flags < 20 * messages or headers < 200 * messages:
        raise RuntimeError(f"{server.name} left something out: {flags} and {headers} octets")
    session.command("e", "LOGOUT")
    return taken


def idle_connections(server, users, tls, number=1000):
    """kB of memory for each connection that is logged in, has INBOX selected and idles."""
    context = ssl.create_default_context(cafile=server.directory / "cert.pem") if tls else None
    warm = Session(server.imaps if tls else server.imap, context)
    warm.idle(users[0])
    before = server.memory()
    sessions = []
    for index in range(number):
        session = Session(server.imaps if tls else server.imap, context)
        session.idle(users[index % len(users)])
        sessions.append(session)
    time.sleep(2)
    after = server.memory()
    for session in [warm, *sessions]:
        session.sock.close()
    return (after - before) / number
