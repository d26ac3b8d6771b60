#!/usr/bin/env python3
"""What a delivered message costs a cluster, and how much 1, 2 and 3 processes deliver over one FoundationDB and one bucket.

Run by `make bench-cluster`, which needs what `deploy/local-cluster` needs, and Postfix's `smtp-source`. Prints the table of docs/capacity.md. All
runs on one machine: where its processors are the limit, more processes deliver no more, and the costs for each message are what counts.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "chaos"))
from cluster import Cluster, say

DOMAIN = "scale.test"
ACCOUNTS = 50
SESSIONS = 10
LENGTH = 20_000
TICKS = os.sysconf("SC_CLK_TCK")

PACKING = "minAge: 1s, maxAge: 10s"
COUNTERS = {
    "commits": "ekitei_kv_commits_total",
    "conflicts": "ekitei_kv_conflicts_total",
    "written": "ekitei_kv_written_bytes_total",
    "reads": "ekitei_kv_reads_total",
    "puts": "ekitei_blob_object_writes_total",
}


def processor_time(pid):
    """Seconds of processor time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def snapshot(cluster, processes):
    found = {name: sum(cluster.metric(n, metric) for n in processes) for name, metric in COUNTERS.items()}
    found["service"] = sum(processor_time(cluster.pid(f"node{n}")) for n in processes)
    found["fdb"] = processor_time(cluster.pid("fdb"))
    found["s3"] = processor_time(cluster.pid("s3"))
    return found


def deliver(cluster, processes, messages):
    """Seconds that it takes until all are acknowledged, sent to all processes at once, each to another account."""
    began = time.monotonic()
    senders = []
    for number in range(ACCOUNTS):
        share = messages // ACCOUNTS
        port = cluster.port("smtp", processes[number % len(processes)])
        senders.append([
            "smtp-source", "-s", "1", "-m", str(share), "-l", str(LENGTH), "-f", "sender@elsewhere.test",
            "-t", f"user{number}@{DOMAIN}", f"inet:127.0.0.1:{port}"])
    running = []
    while senders or running:
        while senders and len(running) < SESSIONS * len(processes):
            running.append(subprocess.Popen(senders.pop()))
        for sender in list(running):
            if sender.poll() is not None:
                if sender.returncode:
                    raise RuntimeError("smtp-source was refused")
                running.remove(sender)
        time.sleep(0.01)
    return time.monotonic() - began


def measure(cluster, count, messages):
    processes = list(range(1, count + 1))
    cluster("scale", str(count))
    deliver(cluster, processes, ACCOUNTS * 2)  # warm
    before = snapshot(cluster, processes)
    seconds = deliver(cluster, processes, messages)
    at_once = snapshot(cluster, processes)
    time.sleep(20)  # until all is packed
    after = snapshot(cluster, processes)
    each = {name: (after[name] - before[name]) / messages for name in after}
    return {
        "processes": count,
        "rate": messages / seconds,
        "service": each["service"] * 1e6,
        "fdb": each["fdb"] * 1e6,
        "busy": (at_once["service"] + at_once["fdb"] + at_once["s3"] - before["service"] - before["fdb"] - before["s3"]) / seconds,
        **{name: each[name] for name in COUNTERS},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ekitei-scale-") as directory:
        cluster = Cluster(directory, packing=PACKING)
        try:
            cluster("up", "1")
            cluster("run", "domain", "add", DOMAIN)
            for number in range(ACCOUNTS):
                cluster("run", "account", "add", f"user{number}@{DOMAIN}", "--no-password")
            rows = []
            for count in (1, 2, 3):
                rows.append(measure(cluster, count, options.messages))
                say(rows[-1])
        finally:
            cluster("down")
    print("| processes | messages/s | processors busy | service, us/message | FoundationDB, us/message | commits | conflicts | reads | octets written | PUTs |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| {processes} | {rate:.0f} | {busy:.1f} | {service:.0f} | {fdb:.0f} | {commits:.2f} | {conflicts:.3f} | {reads:.1f} "
              "| {written:.0f} | {puts:.4f} |".format(**row))


if __name__ == "__main__":
    main()
