#!/usr/bin/env python3
"""Computes the tables of docs/capacity.md from measured figures: what a message costs (from `make bench-cluster`) and a model of what users do.

Run it after changing a figure: it rewrites the tables between the markers of the page.
"""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/capacity.md"

# Measured (docs/capacity.md says when and how).
MEASURED = {
    "service": 1000e-6,  # seconds of processor time of the service for a delivered message
    "fdb": 900e-6,  # and of FoundationDB
    "metadata": 4500,  # octets of rows that stay for a stored message once its body is packed: at most what a delivery writes
    "puts": 0.01,  # objects written for a message: more than measured, for bodies that do not compress so well
    "idle": 20e3,  # octets of memory for an idle IMAP connection with TLS
}
# The model: what a mailbox does in a day, and has.
MODEL = {
    "received": 40,
    "kept": 5_000,
    "body": 30_000,  # octets in the object store for a message, compressed
    "read": 0.5,  # bodies read from the object store for each message received
    "connected": 0.3,  # IMAP connections for each mailbox, at the busy hour
    "peak": 4,  # the busy hour against the average
    "replicas": 3,  # copies that FoundationDB keeps
    "headroom": 2,  # nothing is planned to be more than half busy
    "process": 2 << 40,  # octets that one storage process of FoundationDB may hold (2 TB disks)
}
# Dollars; the list prices of a large cloud, rounded.
PRICES = {"put": 5e-6, "get": 0.4e-6, "gigabyte": 0.023, "core": 25, "disk": 0.10}
DAY, MONTH = 86_400, 30


def capacity(mailboxes):
    """What so many mailboxes need."""
    use, model = MEASURED, MODEL
    rate = mailboxes * model["received"] / DAY * model["peak"]
    messages = mailboxes * model["kept"]
    monthly = mailboxes * model["received"] * MONTH
    rows = messages * use["metadata"] * model["replicas"]
    cores = rate * use["service"] * model["headroom"]
    store = max(3, rate * use["fdb"] * model["replicas"] * model["headroom"], rows / model["process"])
    bodies = messages * model["body"]
    cost = (monthly * (use["puts"] * PRICES["put"] + model["read"] * PRICES["get"]) + bodies / 1e9 * PRICES["gigabyte"]
            + (max(3, cores) + store) * PRICES["core"] + rows / 1e9 * PRICES["disk"])
    return [
        f"{mailboxes:,}", f"{rate:,.0f}", f"{max(3, cores):,.0f}", f"{mailboxes * model['connected'] * use['idle'] / 1e9:,.1f}",
        f"{store:,.0f}", f"{rows / 1e12:,.2f}", f"{bodies / 1e12:,.1f}", f"{monthly * use['puts'] / 1e6:,.1f}",
        f"{monthly * model['read'] / 1e6:,.0f}", f"{cost:,.0f}", f"{cost / mailboxes * 100:.1f}",
    ]


def table():
    head = ["mailboxes", "messages/s at the busy hour", "cores of the service", "GB of memory for connections", "FoundationDB processes",
            "TB of rows, all copies", "TB of bodies", "million PUTs a month", "million GETs a month", "$ a month", "cents a mailbox"]
    rows = [head, ["---:"] * len(head)] + [capacity(mailboxes) for mailboxes in (10_000, 1_000_000, 100_000_000)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main():
    page = PAGE.read_text()
    text = f"<!-- capacity -->\n{table()}\n<!-- end of capacity -->"
    page, found = re.subn(r"<!-- capacity -->.*<!-- end of capacity -->", lambda _: text, page, flags=re.DOTALL)
    assert found == 1, "docs/capacity.md lost its markers"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
