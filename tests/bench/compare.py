#!/usr/bin/env python3
"""Compares Ekitei with Postfix and Dovecot on this machine, in one run, and writes docs/benchmarks.md.

Run by `make bench` (as root on Debian, since Postfix and Dovecot drop to their own users). Both services run on
loopback ports with directories of their own below one temporary directory, one at a time, and are measured in turns.
"""

import argparse
import datetime
import os
import pathlib
import platform
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import measure
import servers

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Counters of /metrics, named with what the table calls them.
COUNTERS = {
    "ekitei_kv_commits_total": "commits",
    "ekitei_kv_fsyncs_total": "fsyncs",
    "ekitei_blob_object_writes_total": "object writes",
}
# What the first version aims at: ours / theirs at least (or at most, for what should be small), and absolute limits.
TARGETS = {"one": 4.0, "many": 4.0, "open_cold": 1.0, "open_warm": 1.0, "plain": 32.0, "tls": 32.0, "idle": 100.0}


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


def measure_one(server, options, results):
    """Everything that is measured on one service in one round."""
    one, many = ["reader@" + servers.DOMAIN], servers.users(100)
    result = results.setdefault(server.name, {})
    add = lambda key, value: (result.setdefault(key, []).append(value), say(f"{server.name}: {key} {value}"))

    server.start()
    if not result:
        server.add_users(one + many + ["large@" + servers.DOMAIN])
        server.stop()
        server.start()
        time.sleep(2)
        add("idle", server.memory() / 1024)
    before = server.metrics()
    for key, who in (("one", one), ("many", many)):
        rates = measure.throughput(server, who, options.messages)
        add(key, rates["readable"])
        add(key + "_accepted", rates["accepted"])
    after = server.metrics()
    for metric, label in COUNTERS.items():
        if metric in after:
            add(label, (after[metric] - before.get(metric, 0)) / (2 * options.messages))
    server.stop()


def measure_reading(server, options, results):
    """The large mailbox and the idle connections, once for each service."""
    result = results[server.name]
    user = "large@" + servers.DOMAIN
    server.start()
    measure.fill(server, user, options.mailbox)
    server.stop()
    server.start()
    result["open_cold"] = [measure.open_mailbox(server, user, options.mailbox)]
    result["open_warm"] = [measure.open_mailbox(server, user, options.mailbox) for _ in range(5)]
    say(f"{server.name}: open {result['open_cold']} {result['open_warm']}")
    for key, tls in (("plain", False), ("tls", True)):
        server.stop()
        server.start()
        result[key] = [measure.idle_connections(server, servers.users(100), tls, options.connections)]
        say(f"{server.name}: {key} {result[key]}")
    server.stop()


ROWS = [
    # key, label, format, whether more is better
    ("one", "messages/s until readable over IMAP, one mailbox", "{:.0f}", True),
    ("one_accepted", "messages/s until accepted, one mailbox", "{:.0f}", True),
    ("many", "messages/s until readable over IMAP, 100 mailboxes", "{:.0f}", True),
    ("many_accepted", "messages/s until accepted, 100 mailboxes", "{:.0f}", True),
    ("open_cold", "open the large mailbox, first time after a start (s)", "{:.3f}", False),
    ("open_warm", "open the large mailbox again (s)", "{:.3f}", False),
    ("plain", "memory per idle IMAP connection, plain (kB)", "{:.1f}", False),
    ("tls", "memory per idle IMAP connection, TLS (kB)", "{:.1f}", False),
    ("idle", "memory of the idle service (MB)", "{:.0f}", False),
]


def verdict(key, ours, ratio):
    target = TARGETS.get(key)
    if target is None:
        return ""
    if key in ("plain", "tls", "idle"):
        unit = "MB" if key == "idle" else "kB"
        return f"<= {target:.0f} {unit}: " + ("met" if ours <= target else f"missed by {ours - target:.1f} {unit}")
    return f">= {target:g}x: " + ("met" if ratio >= target else f"missed, {ratio / target:.0%} of it")


def report(results, options, ours, peer):
    table = [f"| measured | {ours.name} | {peer.name} | ratio | target |", "|---|---:|---:|---:|---|"]
    for key, label, form, more_is_better in ROWS:
        if key not in results[ours.name] or key not in results[peer.name]:
            continue
        mine, theirs = (statistics.median(results[server.name][key]) for server in (ours, peer))
        ratio = mine / theirs if more_is_better else theirs / max(mine, 1e-9)
        table.append(f"| {label} | {form.format(mine)} | {form.format(theirs)} | {ratio:.2f}x | {verdict(key, mine, ratio)} |")
    for label in COUNTERS.values():
        if label in results[ours.name]:
            table.append(f"| {label} per message | {statistics.median(results[ours.name][label]):.3f} | | | |")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    changed = "\n".join(
        f"- {server.name} ({server.version()}):\n" + "\n".join(f"  - {change}" for change in server.changes)
        for server in (ours, peer))
    return f"""# Benchmarks

Written by `make bench`; not edited by hand. Last run: {datetime.date.today()}, {os.cpu_count()} cores ({cpu}),
{platform.system()} {platform.release()}. A ratio above 1 means that {ours.name} is better.

""" + "\n".join(table) + f"""

How it is measured (`tests/bench/`): both services run on this machine in one run, in turns, one at a time, with their own
directories on the same disk. Load is Postfix's `smtp-source`: {options.messages} messages of {measure.LENGTH} octets over
{measure.SESSIONS} sessions at once, a new connection for each message. Rates and counts are the median of {options.rounds} rounds.
The large mailbox has {options.mailbox} messages; opening it is login, SELECT, all flags, and the envelope and five header fields of
every message. Idle connections ({options.connections}) are logged in, have INBOX selected and are in IDLE; memory is the
proportional set size of all processes of the service. Commits and fsyncs are those of the metadata store: deliveries that arrive together
share a commit, and commits share an fsync. Object writes are bodies too large for it, of which this load has none.

What was changed from the way the services are shipped, so that the race is fair:

{changed}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ekitei", required=True, help="the release binary")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mailbox", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--directory", help="where both keep their mail; the default is a temporary directory")
    parser.add_argument("--output", default=ROOT / "docs/benchmarks.md", type=pathlib.Path)
    parser.add_argument("--only", choices=["ours", "peer"], help="measure one of them, print, write nothing")
    options = parser.parse_args()
    servers.allow_many_files()
    # Maildir and the queue are owned by other users than root.
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ekitei-bench-", dir=options.directory))
    directory.chmod(0o755)
    ours = servers.Ekitei(directory / "ekitei", options.ekitei)
    peer = servers.PostfixDovecot(directory / "peer")
    pair = {"ours": [ours], "peer": [peer]}.get(options.only, [ours, peer])
    results = {}
    try:
        for round_number in range(options.rounds):
            # Who goes first changes, so that a machine that warms up or slows down favours nobody.
            for server in pair if round_number % 2 == 0 else pair[::-1]:
                measure_one(server, options, results)
        for server in pair:
            measure_reading(server, options, results)
    except BaseException:
        for server in pair:
            server.stop()
        say(f"The logs are in {directory}")
        raise
    shutil.rmtree(directory)
    if len(pair) == 2:
        text = report(results, options, ours, peer)
        options.output.write_text(text)
        print(text)


if __name__ == "__main__":
    main()
