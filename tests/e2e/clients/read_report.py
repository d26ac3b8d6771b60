"""Reads the report in a message on standard input as its receiver would: DMARC (RFC 9990) or TLS (RFC 8460); prints what it says as JSON."""

import email
import email.policy
import gzip
import json
import sys
import xml.etree.ElementTree

message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
[part] = [part for part in message.walk() if part.get_content_type().endswith("gzip")]
unpacked = gzip.decompress(part.get_payload(decode=True))
said = {
    "from": str(message["From"]),
    "subject": str(message["Subject"]),
    "tls-required": message["TLS-Required"],
    "report-type": message.get_content_type() + " " + (message.get_param("report-type") or ""),
    "domain": message["TLS-Report-Domain"],
    "submitter": message["TLS-Report-Submitter"],
    "type": part.get_content_type(),
    "file": part.get_filename(),
}
if part.get_content_type() == "application/tlsrpt+gzip":
    said["report"] = json.loads(unpacked)
else:
    feedback = xml.etree.ElementTree.fromstring(unpacked)
    for element in feedback.iter():
        element.tag = element.tag.rpartition("}")[2]
    assert feedback.tag == "feedback"

    def text(element, path):
        found = element.find(path)
        return None if found is None else found.text

    policy = feedback.find("policy_published")
    said["organization"] = text(feedback, "report_metadata/org_name")
    said["contact"] = text(feedback, "report_metadata/email")
    said["begin"] = int(text(feedback, "report_metadata/date_range/begin"))
    said["end"] = int(text(feedback, "report_metadata/date_range/end"))
    said["policy"] = {child.tag: child.text for child in policy}
    said["records"] = [
        {
            "source": text(record, "row/source_ip"),
            "count": int(text(record, "row/count")),
            "disposition": text(record, "row/policy_evaluated/disposition"),
            "dkim": text(record, "row/policy_evaluated/dkim"),
            "spf": text(record, "row/policy_evaluated/spf"),
            "from": text(record, "identifiers/header_from"),
            "spf-domain": text(record, "auth_results/spf/domain"),
            "spf-result": text(record, "auth_results/spf/result"),
        }
        for record in feedback.findall("record")
    ]
json.dump(said, sys.stdout)
