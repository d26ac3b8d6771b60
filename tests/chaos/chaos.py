#!/usr/bin/env python3
"""The chaos run: three processes on FoundationDB and S3, clients at work, and everything that can be broken broken at random.

Mail comes, is forwarded, read, moved and removed; certificates are replaced, a lock goes from one to the other, backups are made. Bodies are encrypted.
At the end all is healed, and what the clients were promised (`ledger.py`, `administration.py`) is compared with what the cluster has; with
`--restore`, everything is restored from the last backup into an empty store as well, and compared with that. Run by
`make chaos`, which needs what `deploy/local-cluster` needs. Prints the seed of its random choices; threads make two runs differ all the same.
"""

import argparse
import base64
import contextlib
import os
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from administration import Archivist, Certificates, Certifier, Grants, Locker, last_backup
from cluster import S3_PORT, Cluster, say
from ledger import Ledger
from sink import Sink
from workload import DOMAIN, FORWARDER, PASSWORD, Reader, Sender, Submitter, connect, contents

PROCESSES = 3
RECIPIENTS = 4
READERS = 4
LOCKERS = 3
# Seconds in which all mail leaves: longer than any server is waited for.
LEAVING = 400
# The process that has what was restored.
RESTORED = 9

# Mail for others goes to the sink; retries and packing do not wait as long as they do in life.
CONFIGURATION = """\
relay: {{smartHost: {{host: '127.0.0.1:{port}'}}}}
queue: {{retrySchedule: [5s, 10s, 20s]}}
encryption: {{enabled: true, masterKey: '{master_key}'}}
backup:
  encryptionKey: '{backup_key}'
  kind: s3
  endpoint: http://127.0.0.1:{s3_port}
  bucket: ekitei-backup
  region: us-east-1
  pathStyle: true
  credentials: {{accessKeyId: ekitei, secretAccessKey: ekitei-secret}}
"""
PACKING = "minAge: 5s, maxAge: 20s"


def configuration(sink):
    key = lambda: base64.b64encode(os.urandom(32)).decode()
    return CONFIGURATION.format(port=sink.port, s3_port=S3_PORT, master_key=key(), backup_key=key())


class Nemesis:
    """Breaks one thing after the other, and mends it."""

    def __init__(self, cluster, seed):
        self.cluster, self.random = cluster, random.Random(seed)
        self.done = {}

    def strike(self):
        name = self.random.choice(["kill", "kill", "pause", "s3 away", "one more and one less", "terminate"])
        self.done[name] = self.done.get(name, 0) + 1
        process = str(self.random.randint(1, PROCESSES))
        say(f"nemesis: {name} {process if name in ('kill', 'pause', 'terminate') else ''}")
        if name == "kill":
            self.cluster("kill", process, "KILL")
            time.sleep(self.random.uniform(0, 15))
            self.cluster("start", process)
        elif name == "terminate":
            self.cluster("kill", process, "TERM")
            time.sleep(self.random.uniform(1, 8))
            self.cluster("start", process)
        elif name == "pause":
            self.cluster("kill", process, "STOP")
            time.sleep(20)
            self.cluster("kill", process, "CONT")
        elif name == "s3 away":
            self.cluster("kill", "s3", "KILL")
            time.sleep(self.random.uniform(5, 20))
            self.cluster("start", "s3")
        else:
            self.cluster("scale", str(PROCESSES + 1))
            self.cluster.processes = PROCESSES + 1
            time.sleep(self.random.uniform(5, 15))
            self.cluster.processes = PROCESSES  # before they end: clients go elsewhere
            self.cluster("scale", str(PROCESSES))


def wait_for(what, seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {seconds} s")
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--restore", action="store_true", help="restore the last backup at the end, and compare")
    parser.add_argument("--directory", type=pathlib.Path, help="keep the logs and stores of all servers here; it must be empty")
    options = parser.parse_args()
    say(f"seed {options.seed}, {options.seconds} s")
    with place(options.directory) as directory:
        sink = Sink()
        cluster = Cluster(directory, configuration(sink), PACKING)
        try:
            broken = run(cluster, sink, options)
        except BaseException:
            show_logs(cluster)
            raise
        finally:
            cluster("down")
        for line in broken[:50]:
            say(f"BROKEN: {line}")
        if broken:
            show_logs(cluster)
            sys.exit(f"{len(broken)} promises were broken")


def place(directory):
    """The directory of the servers: this one, or one that is removed at the end."""
    if directory is None:
        return tempfile.TemporaryDirectory(prefix="ekitei-chaos-")
    directory.mkdir(parents=True)
    return contextlib.nullcontext(directory.resolve())


def run(cluster, sink, options):
    cluster.processes = PROCESSES
    say(cluster("up", str(PROCESSES)).strip())
    cluster("run", "domain", "add", DOMAIN)
    recipients = [f"recipient{n}@{DOMAIN}" for n in range(RECIPIENTS)]
    readers = [f"reader{n}@{DOMAIN}" for n in range(READERS)]
    for account in recipients + readers:
        cluster("run", "account", "add", account, "--password", PASSWORD)
    for account in readers:
        connect(cluster, account).create("Archive")  # which new accounts may have already
    cluster("run", "account", "add", FORWARDER, "--password", PASSWORD, "--keep-copy", "--forward-to", recipients[0],
            "--forward-to", "somebody@elsewhere.test")
    ledger, certificates, grants = Ledger(), Certificates(cluster.directory), Grants()
    clients = [Sender(cluster, ledger, f"{options.seed}s{n}", recipients) for n in range(4)]
    clients += [Submitter(cluster, ledger, f"{options.seed}o{n}", recipients[n]) for n in range(2)]
    clients += [Reader(cluster, ledger, f"{options.seed}r{n}", account) for n, account in enumerate(readers)]
    archivist = Archivist(cluster, ledger, f"{options.seed}a")
    clients += [Certifier(cluster, ledger, f"{options.seed}c", certificates), archivist]
    clients += [Locker(cluster, ledger, f"{options.seed}l{n}", grants) for n in range(LOCKERS)]
    for client in clients:
        client.start()
    nemesis, end = Nemesis(cluster, options.seed), time.monotonic() + options.seconds
    while time.monotonic() < end:
        time.sleep(3)
        nemesis.strike()
    say(f"stopping the clients; done: {nemesis.done}, {ledger.counts}")
    for client in clients:
        client.stopped.set()
    for client in clients:
        client.join(90)
        assert not client.is_alive() and not client.failure, f"{client.name} hangs or failed: {client.failure}"
        assert client.worked, f"{client.name}, a {type(client).__name__}, never had an answer: nothing was tested"
    cluster("up", str(PROCESSES))  # heals what is still broken
    waiting = lambda: ledger.acknowledged_leaving() - set(sink.taken)
    try:
        wait_for("mail is still in the queue", LEAVING, lambda: not waiting())
    except TimeoutError:
        say(f"{len(waiting())} never left, such as {sorted(waiting())[:3]}; the queue:\n{cluster('run', 'queue', 'list')}")
        raise
    accounts = recipients + readers + [FORWARDER]
    stored = everything(cluster, accounts)
    say(f"{len(stored)} messages are stored, {sum(sink.taken.values())} left")
    broken, repeated = ledger.audit(dict(stored), sink.taken)
    broken += certificates.audit(cluster) + grants.audit()
    say(f"the lock was granted {len(grants.grants)} times")
    made, problems = last_backup(cluster)
    say(f"{archivist.done} backup jobs were done meanwhile; the last backup has {made['messages']} messages, {len(problems)} problems")
    broken += problems
    if options.restore:
        broken += restored(cluster, accounts, stored)
    say(f"{repeated} messages left more than once (after a kill or a pause, as docs/queue.md says)")
    recount = cluster("run", "account", "recount", "--all")
    say("recount: " + recount.strip().splitlines()[-1])
    packed = sum(cluster.metric(n + 1, "ekitei_blob_packed_bodies_total") for n in range(PROCESSES))
    say(f"{packed:.0f} bodies were packed by the processes that are left")
    say(f"{ledger.counts['acknowledged']} acknowledged, {ledger.counts['refused']} refused, {ledger.counts['unknown']} unknown: "
        + ("all promises kept" if not broken else f"{len(broken)} broken"))
    return broken


def everything(cluster, accounts, process=None):
    """{(account, token): [(mailbox, flags), ...]}"""
    return {(account, token): found for account in accounts for token, found in contents(cluster, account, process).items()}


def restored(cluster, accounts, stored):
    """Restores the last backup into an empty store beside that of the cluster; where it differs from what is stored."""
    place = {"fdb.cluster}": "fdb.cluster, prefix: restored/}", "bucket: ekitei\n": "bucket: ekitei\n  prefix: restored/\n"}
    began = time.monotonic()
    config = cluster.copy_process(RESTORED, place)
    cluster("run", "backup", "restore", "--all", "--offline", "--config", config)
    cluster("start", str(RESTORED))
    found = everything(cluster, accounts, RESTORED)
    say(f"{len(found)} messages were restored in {time.monotonic() - began:.0f} s")
    return [f"restored: {key}: {stored.get(key)} is {found.get(key)}" for key in sorted({*stored, *found})
            if stored.get(key) != found.get(key)]


def show_logs(cluster):
    for log in sorted(cluster.directory.glob("node*/log")):
        lines = log.read_text(errors="replace").splitlines()
        say(f"the end of {log}:\n" + "\n".join(lines[-30:]))


if __name__ == "__main__":
    main()
