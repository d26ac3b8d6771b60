"""Sends commands in the same segment as STARTTLS: they must not be obeyed after the handshake (CVE-2011-0411)."""

import os
import socket
import ssl

context = ssl.create_default_context(cafile=os.environ["CERTIFICATE"])

# port, hello, the command with what is injected, the command after the handshake, what its reply begins with
CASES = [
    ("SMTP_PORT", b"EHLO a.test\r\n", b"STARTTLS\r\nMAIL FROM:<evil@a.test>\r\n", b"RCPT TO:<alice@example.test>\r\n", b"503"),
    ("SUBMISSION_PORT", b"EHLO a.test\r\n", b"STARTTLS\r\nNOOP injected\r\n", b"VRFY\r\n", b"5"),
    ("IMAP_PORT", b"", b"a STARTTLS\r\nb NOOP\r\n", b"c NOOP\r\n", b"c OK"),
    ("POP3_PORT", b"", b"STLS\r\nCAPA\r\n", b"NOOP\r\n", b"-ERR"),
]


def read_line_group(sock):
    """Reads one reply, however many lines it has."""
    data = b""
    while True:
        piece = sock.recv(4096)
        data += piece
        if not piece:
            return data
        last = data.rstrip(b"\r\n").split(b"\r\n")[-1]
        if data.endswith(b"\r\n") and last[3:4] != b"-":
            return data


for port, hello, injection, probe, expected in CASES:
    sock = socket.create_connection(("localhost", int(os.environ[port])), timeout=20)
    read_line_group(sock)
    if hello:
        sock.sendall(hello)
        read_line_group(sock)
    sock.sendall(injection)
    answer = read_line_group(sock)
    if not answer or answer[:1] == b"5" or b" BAD" in answer or answer.startswith((b"421", b"-ERR", b"* BYE")):
        continue  # refused outright
    assert answer.count(b"\r\n") == 1, (port, "an injected command was answered in the clear", answer)
    try:
        tls = context.wrap_socket(sock, server_hostname="localhost")
    except (ssl.SSLError, OSError):
        continue  # the connection was dropped
    tls.sendall(probe)
    answer = read_line_group(tls)
    assert answer.startswith(expected) and answer.count(b"\r\n") == 1, (port, answer)
