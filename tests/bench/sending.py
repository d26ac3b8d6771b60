#!/usr/bin/env python3
"""Compares how Ekitei and Postfix with OpenDKIM send mail on this machine, in one run, and writes docs/benchmarks-sending.md.

Run by `make bench` (as root on Debian). A message counts when the next host, Postfix's `smtp-sink`, has taken it.
"""

import argparse
import asyncio
import datetime
import os
import pathlib
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import servers
from servers import DOMAIN, HOST, free_port, listening, make_certificate, memory, tree, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
SESSIONS = 20
LENGTH = 5000
TARGET = 2.0


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


class Sink:
    """smtp-sink, which counts the messages it has taken."""

    def __init__(self):
        self.port = free_port()
        # It writes its counts with carriage returns.
        self.process = subprocess.Popen(["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{self.port}", "1000"],
                                        stdout=subprocess.PIPE)
        self.count = 0
        threading.Thread(target=self._read, daemon=True).start()
        wait_for("smtp-sink", lambda: listening(self.port))

    def _read(self):
        rest = b""
        while chunk := os.read(self.process.stdout.fileno(), 65536):
            found = re.findall(rb"mesg=(\d+)\r", rest + chunk)
            if found:
                self.count = int(found[-1])
            rest = (rest + chunk)[-100:]

    def stop(self):
        self.process.kill()
        self.process.wait()


class SlowSink:
    """A server that takes 200 ms for each message, as one on another continent does; any number of sessions."""

    DELAY = 0.2

    def __init__(self):
        self.port, self.count = free_port(), 0
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, daemon=True).start()
        wait_for("the slow sink", lambda: listening(self.port))

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1000))
        self.loop.run_forever()

    async def _serve(self, reader, writer):
        writer.write(b"220 sink\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go on\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    await asyncio.sleep(self.DELAY)
                    self.count += 1
                    writer.write(b"250 taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                else:
                    writer.write(b"250 ok\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


class Ekitei(servers.Ekitei):
    """Our own binary; it relays for loopback, as for a user who logged in, and signs with both algorithms."""

    changes = [
        "limits per address off, loopback in `smtp.trustedNetworks` (Postfix relays for it, too)",
        "the filter of incoming mail off, as it is for users who log in",
    ]

    def relay_to(self, port):
        config = self.directory / "ekitei.yaml"
        text = re.sub(r"\nrelay:.*", "", config.read_text(), flags=re.S)
        text = text.replace("smtp:\n", "smtp:\n  trustedNetworks: [127.0.0.0/8]\n", 1) if "trustedNetworks" not in text else text
        config.write_text(text + f"\nrelay:\n  smartHost: {{host: 127.0.0.1, port: {port}}}\n"
                                 "filter:\n  authentication: {enabled: false}\n")

    def command(self, *words):
        subprocess.run([self.binary, "--server", f"http://127.0.0.1:{self.http}", "--token", "bench", *words], check=True,
                       capture_output=True)

    def prepare(self):
        self.add_users([])
        self.command("dkim", "create", DOMAIN, "--now")


class PostfixOpenDkim:
    """Debian's Postfix with two of Debian's OpenDKIM as milters, one for each algorithm."""

    name = "Postfix + OpenDKIM"
    changes = [
        "Postfix: limits of clients off, no chroot, own queue directory, no local domains",
        "OpenDKIM: one instance for each algorithm, since one signs with one key",
    ]

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True)
        directory.chmod(0o755)
        make_certificate(directory)
        self.smtp, self.processes, self.milters = free_port(), [], []
        for algorithm in ("rsa", "ed25519"):
            self._write_milter(algorithm)
        self._write_postfix()

    def _write_milter(self, algorithm):
        key = self.directory / f"{algorithm}.pem"
        extra = ["-pkeyopt", "rsa_keygen_bits:2048"] if algorithm == "rsa" else []
        subprocess.run(["openssl", "genpkey", "-algorithm", algorithm, *extra, "-out", key], check=True, capture_output=True)
        port = free_port()
        self.milters.append(port)
        (self.directory / f"{algorithm}.conf").write_text(f"""
Socket inet:{port}@127.0.0.1
PidFile {self.directory}/{algorithm}.pid
Mode s
Domain {DOMAIN}
Selector {algorithm}
KeyFile {key}
SignatureAlgorithm {algorithm}-sha256
Canonicalization relaxed/relaxed
OversignHeaders From
InternalHosts 127.0.0.1
Background no
UserID root
RequireSafeKeys no
""")

    def _write_postfix(self):
        config = self.directory / "postfix"
        config.mkdir()
        for name in ("queue", "data"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        milters = ", ".join(f"inet:127.0.0.1:{port}" for port in self.milters)
        self.main = f"""
compatibility_level = 3.6
queue_directory = {self.directory}/queue
data_directory = {self.directory}/data
maillog_file = {self.directory}/postfix.log
maillog_file_prefixes = {self.directory}
myhostname = {HOST}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_milters = {milters}
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
"""
        (config / "master.cf").write_text(servers.postfix_services(self.smtp))

    def relay_to(self, port):
        (self.directory / "postfix/main.cf").write_text(self.main + f"relayhost = [127.0.0.1]:{port}\n")

    def version(self):
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "postfix", "opendkim"],
                               capture_output=True, text=True)
        return shown.stdout.strip(", ")

    def start(self):
        for algorithm, port in zip(("rsa", "ed25519"), self.milters):
            self.processes.append(subprocess.Popen(["opendkim", "-f", "-x", self.directory / f"{algorithm}.conf"]))
            wait_for("OpenDKIM", lambda: listening(port))
        subprocess.run(["postfix", "-c", self.directory / "postfix", "start"], check=True, capture_output=True)
        wait_for("Postfix", lambda: listening(self.smtp))

    def prepare(self):
        """Its keys are in its configuration."""

    def metrics(self):
        return {}

    def stop(self):
        master = self.directory / "queue/pid/master.pid"
        pids = tree(int(master.read_text())) if master.exists() else []
        subprocess.run(["postfix", "-c", self.directory / "postfix", "stop"], capture_output=True)
        wait_for("Postfix to end", lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids))
        for process in self.processes:
            process.terminate()
            process.wait()
        self.processes = []


def source(server, messages, recipient, sessions=SESSIONS):
    subprocess.run(["smtp-source", "-s", str(sessions), "-m", str(messages), "-l", str(LENGTH), "-f", f"user@{DOMAIN}",
                    "-t", recipient, f"127.0.0.1:{server.smtp}"], check=True)


def wait_for_count(sink, count, limit=900):
    wait_for(f"{count} messages (there are {sink.count})", lambda: sink.count >= count, limit)


def measure_rate(server, sink, messages):
    """Messages per second from the first connection until the next host has all; and until all were accepted."""
    goal = sink.count + messages
    start = time.monotonic()
    source(server, messages, "someone@elsewhere.test")
    accepted = time.monotonic() - start
    wait_for_count(sink, goal)
    return messages / (time.monotonic() - start), messages / accepted


def measure_destinations(server, sink, destinations):
    """Messages per second to many destinations whose server takes 200 ms for each."""
    goal = sink.count + destinations
    start = time.monotonic()
    shares = [range(first, destinations, 10) for first in range(10)]

    def worker(share):
        for number in share:
            source(server, 1, f"someone@d{number}.test", 1)

    threads = [threading.Thread(target=worker, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for_count(sink, goal)
    return destinations / (time.monotonic() - start)


def measure(server, options, results):
    result = results.setdefault(server.name, {})

    def add(key, value):
        result.setdefault(key, []).append(value)
        say(f"{server.name}: {key} {value:.3f}")

    sink = Sink()
    server.relay_to(sink.port)
    server.start()
    if not result:
        server.prepare()
    before = server.metrics()
    rate, accepted = measure_rate(server, sink, options.messages)
    after = server.metrics()
    add("rate", rate)
    add("accepted", accepted)
    for metric, label in (("ekitei_kv_commits_total", "commits"), ("ekitei_kv_fsyncs_total", "fsyncs"),
                          ("ekitei_kv_written_bytes_total", "bytes")):
        if metric in after:
            add(label, (after[metric] - before.get(metric, 0)) / options.messages)
    server.stop()
    sink.stop()
    slow = SlowSink()
    server.relay_to(slow.port)
    server.start()
    add("destinations", measure_destinations(server, slow, options.destinations))
    server.stop()
    slow.stop()


ROWS = [
    ("rate", "messages/s from submission to the next host, signed with RSA-2048 and Ed25519", "{:.0f}"),
    ("accepted", "messages/s until accepted", "{:.0f}"),
    ("destinations", "messages/s to different destinations, each 200 ms away", "{:.0f}"),
]


def report(results, options, ours, peer):
    table = [f"| measured | {ours.name} | {peer.name} | ratio | target |", "|---|---:|---:|---:|---|"]
    for key, label, form in ROWS:
        mine, theirs = (statistics.median(results[server.name][key]) for server in (ours, peer))
        target = f">= {TARGET:g}x: " + ("met" if mine / theirs >= TARGET else "missed") if key == "rate" else ""
        table.append(f"| {label} | {form.format(mine)} | {form.format(theirs)} | {mine / theirs:.2f}x | {target} |")
    for key, label in (("commits", "commits per message"), ("fsyncs", "fsyncs per message"), ("bytes", "octets written to the store per message")):
        table.append(f"| {label} | {statistics.median(results[ours.name][key]):.2f} | | | |")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    changed = "\n".join(f"- {server.name} ({server.version()}):\n" + "\n".join(f"  - {change}" for change in server.changes)
                        for server in (ours, peer))
    return f"""# Benchmarks of sending

Written by `make bench`; not edited by hand. Last run: {datetime.date.today()}, {os.cpu_count()} cores ({cpu}),
{platform.system()} {platform.release()}.

""" + "\n".join(table) + f"""

How it is measured (`tests/bench/sending.py`): both services run on this machine in one run, one at a time, in turns. Load is Postfix's
`smtp-source`: {options.messages} messages of {LENGTH} octets over {SESSIONS} sessions at once, to one destination; the next host is
Postfix's `smtp-sink`. The last row but the counts sends one message to each of {options.destinations} destinations by way of a server that takes 200 ms for
each. Medians of {options.rounds} rounds.

What was changed from the way the services are shipped, so that the race is fair:

{changed}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ekitei", required=True, help="the release binary")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--destinations", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default=ROOT / "docs/benchmarks-sending.md", type=pathlib.Path)
    parser.add_argument("--only", choices=["ours", "peer"], help="measure one of them, print, write nothing")
    options = parser.parse_args()
    servers.allow_many_files()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ekitei-sending-"))
    directory.chmod(0o755)
    pair = []
    if options.only != "peer":
        pair.append(Ekitei(directory / "ekitei", options.ekitei))
    if options.only != "ours":
        pair.append(PostfixOpenDkim(directory / "peer"))
    results = {}
    try:
        for round_number in range(options.rounds):
            for server in pair if round_number % 2 == 0 else pair[::-1]:
                measure(server, options, results)
    except BaseException:
        for server in pair:
            server.stop()
        say(f"The logs are in {directory}")
        raise
    shutil.rmtree(directory)
    if len(pair) == 2:
        text = report(results, options, *pair)
        options.output.write_text(text)
        print(text)


if __name__ == "__main__":
    main()
