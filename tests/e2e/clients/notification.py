"""Reads a delivery status notification, as RFC 3464 and RFC 6522 have it, and prints what it says as JSON."""

import email
import email.policy
import json
import sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)

for part in message.walk():
    assert not part.defects, (part.get_content_type(), part.defects)
    for name, value in part.items():
        assert not value.defects, (name, value, value.defects)

assert message.get_content_type() == "multipart/report", message.get_content_type()
assert message.get_param("report-type") == "delivery-status", message["Content-Type"]
assert message["MIME-Version"] == "1.0"
for name in ("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Return-Path"):
    assert len(message.get_all(name, [])) == 1, name
# RFC 3834 §5: whoever answers mail by itself has to see that this is such mail.
assert message["Auto-Submitted"].startswith(("auto-replied", "auto-generated")), message["Auto-Submitted"]
assert message["Return-Path"] == "<>", message["Return-Path"]

text, status, returned = message.iter_parts()
assert text.get_content_type() == "text/plain" and text.get_content().strip()
assert status.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
assert returned.get_content_type() in (
    "message/rfc822",
    "text/rfc822-headers",
    "message/global",
    "message/global-headers",
)


def fields(block):
    names = [name for name in block.keys()]
    assert len(set(map(str.lower, names))) == len(names), names
    return {name.lower(): str(value) for name, value in block.items()}


blocks = [block for block in status.get_payload() if len(block)]
about, recipients = fields(blocks[0]), [fields(block) for block in blocks[1:]]
assert about["reporting-mta"].startswith("dns;"), about
assert recipients
for recipient in recipients:
    assert recipient["final-recipient"].split(";")[0] in ("rfc822", "utf-8"), recipient
    assert recipient["action"] in ("failed", "delayed", "delivered", "relayed", "expanded"), recipient
    kind, subject, detail = recipient["status"].split(".")
    assert kind == {"failed": "5", "delayed": "4"}.get(recipient["action"], "2"), recipient
    assert subject.isdigit() and detail.isdigit(), recipient

json.dump(
    {
        "to": message["To"],
        "text": text.get_content(),
        "about": about,
        "recipients": recipients,
        "returned": returned.get_content_type(),
        "returned_text": returned.as_string(),
    },
    sys.stdout,
)
