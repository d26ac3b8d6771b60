"""Sends mail with Python's smtplib over both kinds of TLS, in 8 bits, with UTF-8 addresses and in chunks."""

import os
import smtplib
import ssl
from email.message import EmailMessage

USER = os.environ["USER"]
PASSWORD = os.environ["PASSWORD"]
PEER = os.environ["PEER"]
context = ssl.create_default_context(cafile=os.environ["CERTIFICATE"])


def message(subject, body="A body", sender=USER):
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, PEER, subject
    mail.set_content(body)
    return mail


with smtplib.SMTP("localhost", int(os.environ["SUBMISSION_PORT"]), timeout=20) as smtp:
    smtp.ehlo("client.elsewhere.test")
    assert smtp.has_extn("starttls") and not smtp.has_extn("auth"), smtp.esmtp_features
    smtp.starttls(context=context)
    smtp.ehlo("client.elsewhere.test")
    assert smtp.has_extn("auth") and not smtp.has_extn("starttls"), smtp.esmtp_features
    smtp.login(USER, PASSWORD)
    smtp.send_message(message("starttls"))

with smtplib.SMTP_SSL("localhost", int(os.environ["SUBMISSIONS_PORT"]), timeout=20, context=context) as smtp:
    smtp.login(USER, PASSWORD)
    smtp.send_message(message("tls"))

with smtplib.SMTP("localhost", int(os.environ["SMTP_PORT"]), "client.elsewhere.test", timeout=20) as smtp:
    smtp.ehlo()
    for extension in ("8bitmime", "size", "pipelining", "smtputf8", "chunking", "enhancedstatuscodes", "dsn"):
        assert smtp.has_extn(extension), (extension, smtp.esmtp_features)

    # 8 bits (RFC 6152) and, by smtplib itself, SIZE (RFC 1870), with one recipient that exists and one that does not.
    body = "From: carol@elsewhere.test\r\nTo: bob@example.test\r\nSubject: 8bitmime\r\nMIME-Version: 1.0\r\n" \
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nnaïve café, 日本語\r\n"
    refused = smtp.sendmail("carol@elsewhere.test", [PEER, "nobody@example.test"], body.encode(),
                            mail_options=["BODY=8BITMIME"])
    assert list(refused) == ["nobody@example.test"] and refused["nobody@example.test"][0] == 550, refused

    # Addresses in UTF-8 (RFC 6531).
    smtp.send_message(message("smtputf8", "Grüße", sender="jürgen@elsewhere.test"), to_addrs=[PEER])

    # CHUNKING (RFC 3030), which smtplib does not speak by itself.
    smtp.mail("carol@elsewhere.test")
    smtp.rcpt(PEER)
    for chunk, last in ((b"From: carol@elsewhere.test\r\nSubject: chunking\r\n", ""), (b"\r\nIn two pieces\r\n", " LAST")):
        smtp.send(b"BDAT %d%s\r\n" % (len(chunk), last.encode()) + chunk)
        code, text = smtp.getreply()
        assert code == 250, (code, text)

    # Refusals are said in the standard's words, and the connection goes on.
    assert smtp.docmd("MAIL FROM:carol")[0] == 501
    assert smtp.docmd("RCPT TO:<bob@example.test>")[0] == 503
    assert smtp.docmd("NONSENSE")[0] == 500
    assert smtp.docmd("VRFY bob")[0] == 252
    assert smtp.noop()[0] == 250
