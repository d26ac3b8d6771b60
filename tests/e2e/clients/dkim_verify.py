"""Verifies the DKIM signatures (RFC 6376, RFC 8463) and the ARC chain (RFC 8617) of a message with dkimpy.

The records of the DNS are in $RECORDS, as {"name.": "text"}.
"""

import json
import os
import re
import sys

import dkim

RECORDS = json.loads(os.environ["RECORDS"])


def txt(name, timeout=5):
    text = RECORDS.get(name.decode() if isinstance(name, bytes) else name)
    return text.encode() if text else None


message = sys.stdin.buffer.read()
# A notification quotes the signatures of what it is about.
header = message.partition(b"\r\n\r\n")[0] + b"\r\n."
signatures = re.findall(rb"^DKIM-Signature:.*?(?=^\S)", header, re.M | re.S | re.I)
verifier = dkim.DKIM(message)
results = {}
for index, signature in enumerate(signatures):
    algorithm = re.search(rb"[;\s]a=([a-z0-9-]+)", signature).group(1).decode()
    try:
        results[algorithm] = verifier.verify(idx=index, dnsfunc=txt)
    except dkim.ValidationError:
        # How it says that the body is another one.
        results[algorithm] = False
chain, _, reason = dkim.arc_verify(message, dnsfunc=txt)
json.dump({"dkim": results, "arc": chain.decode(), "reason": reason}, sys.stdout)
