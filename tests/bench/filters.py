#!/usr/bin/env python3
"""What judging mail costs: accept-to-mailbox with no filter, with SPF, DKIM and DMARC, and with rspamd; adds to docs/benchmarks-sending.md.

Run by `make bench` (as root on Debian). Names are answered by Knot DNS on this machine, so their cost is that of the checks, not of the network.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import socket

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import measure
import servers
from sending import say
from servers import DOMAIN, free_port, listening, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARK = "\n## The cost of judging\n"
SENDER = "elsewhere.test"
SESSIONS = 20


class Capture:
    """A server that keeps the last message it was given."""

    def __init__(self):
        self.port, self.message = free_port(), None
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                connection.sendall(b"220 capture\r\n")
                while line := lines.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        connection.sendall(b"354 go on\r\n")
                        message = b""
                        while not message.endswith(b"\r\n.\r\n"):
                            message += lines.readline()
                        self.message = message
                        connection.sendall(b"250 taken\r\n")
                    elif verb == b"QUIT":
                        connection.sendall(b"221 bye\r\n")
                        break
                    else:
                        connection.sendall(b"250 ok\r\n")


class Knot:
    """Knot DNS with one zone."""

    def __init__(self, directory, records):
        directory.mkdir()
        self.port = free_port()
        (directory / "db").mkdir()
        (directory / "knot.conf").write_text(f"""
server:
    rundir: "{directory}"
    listen: 127.0.0.1@{self.port}
log:
  - target: "{directory}/log"
    any: info
database:
    storage: "{directory}/db"
template:
  - id: default
    storage: "{directory}"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
zone:
  - domain: .
    file: zone
""")
        (directory / "zone").write_text(
            ". 300 IN SOA ns.dns. admin.dns. 1 3600 600 86400 60\n. 300 IN NS ns.dns.\nns.dns. 300 IN A 127.0.0.1\n" + records)
        self.process = subprocess.Popen(["knotd", "-c", directory / "knot.conf"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        wait_for("Knot", lambda: (directory / "log").exists() and "[.] loaded" in (directory / "log").read_text())

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Rspamd:
    """rspamd as Debian ships it, with the sockets and the folder of this run, and without what asks the network."""

    def __init__(self, directory):
        directory.mkdir()
        shutil.chown(directory, "_rspamd")
        self.port = free_port()
        (directory / "local.d").mkdir()
        (directory / "rspamd.conf").write_text(f"""
options {{
  pidfile = "{directory}/pid";
  dns {{ nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }}
  filters = "chartable,dkim,regexp";
  tempdir = "{directory}";
  hs_cache_dir = "{directory}";
  disable_monitoring = true;
}}
logging {{ type = "file"; filename = "{directory}/log"; level = "warning"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{self.port}"; count = 1; }}
.include "/etc/rspamd/metrics.conf"
""")
        self.process = subprocess.Popen(["rspamd", "-f", "-i", "-c", directory / "rspamd.conf", "-u", "_rspamd", "-g", "_rspamd"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("rspamd", lambda: listening(self.port))

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Ekitei(servers.Ekitei):
    """Our own binary with one filter or another."""

    def configure(self, extra):
        config = self.directory / "ekitei.yaml"
        text = config.read_text().split("# the filter\n")[0]
        config.write_text(text + "# the filter\n" + extra)

    def command(self, *words):
        return subprocess.run([self.binary, "--server", f"http://127.0.0.1:{self.http}", "--token", "bench", *words], check=True,
                              capture_output=True, text=True).stdout


def signed_message(directory, binary):
    """A message of 5 kB that elsewhere.test has signed with both algorithms, and the records of its keys."""
    server, capture = Ekitei(directory, binary), Capture()
    text = (server.directory / "ekitei.yaml").read_text().replace("smtp:\n", "smtp:\n  trustedNetworks: [127.0.0.0/8]\n", 1)
    (server.directory / "ekitei.yaml").write_text(
        text + f"relay: {{smartHost: {{host: 127.0.0.1, port: {capture.port}}}}}\n")
    server.start()
    server.create("domains", {"name": SENDER})
    keys = json.loads(server.command("--output", "json", "dkim", "create", SENDER, "--now"))
    subprocess.run(["smtp-source", "-m", "1", "-l", "5000", "-f", f"sender@{SENDER}", "-t", "a@b.test",
                    f"127.0.0.1:{server.smtp}"], check=True)
    wait_for("the signed message", lambda: capture.message)
    server.stop()
    capture.listener.close()
    return capture.message, "".join(key["record_line"] + "\n" for key in keys)


def send(port, message, count):
    """Sends the same message again and again, a new connection for each, as other hosts do."""
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection, connection.makefile("rb") as replies:
            def expect(code):
                while True:
                    line = replies.readline()
                    if not line.startswith(code):
                        raise RuntimeError(line)
                    if line[3:4] == b" ":
                        return
            expect(b"220")
            connection.sendall(b"EHLO mx.elsewhere.test\r\n")
            expect(b"250")
            connection.sendall(f"MAIL FROM:<sender@{SENDER}>\r\nRCPT TO:<reader@{DOMAIN}>\r\nDATA\r\n".encode())
            expect(b"250"), expect(b"250"), expect(b"354")
            connection.sendall(message)
            expect(b"250")
            connection.sendall(b"QUIT\r\n")


def cpu(pid):
    """Seconds of processor time that a process has used."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(server, message, messages):
    """Messages per second until all can be read, and microseconds of processor time that the service takes for each."""
    reader = measure.login(server, "reader@" + DOMAIN)
    wanted = measure.count(reader) + messages
    start, used = time.monotonic(), cpu(server.process.pid)
    threads = [threading.Thread(target=send, args=(server.smtp, message, messages // SESSIONS)) for _ in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for("all to be readable", lambda: measure.count(reader) >= wanted)
    took = time.monotonic() - start
    used = cpu(server.process.pid) - used
    reader.logout()
    return messages / took, used / messages * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ekitei", required=True, help="the release binary")
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", default=ROOT / "docs/benchmarks-sending.md", type=pathlib.Path)
    options = parser.parse_args()
    servers.allow_many_files()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="ekitei-filters-"))
    directory.chmod(0o755)
    message, records = signed_message(directory / "signer", options.ekitei)
    knot = Knot(directory / "knot", records + f"{SENDER}. 300 IN TXT \"v=spf1 ip4:127.0.0.1 -all\"\n"
                f"_dmarc.{SENDER}. 300 IN TXT \"v=DMARC1; p=reject\"\nmx.{SENDER}. 300 IN A 127.0.0.1\n"
                f"1.0.0.127.in-addr.arpa. 300 IN PTR mx.{SENDER}.\n")
    dns = f"dns: {{servers: ['127.0.0.1:{knot.port}'], dnssec: false}}\n"
    rspamd = Rspamd(directory / "rspamd") if shutil.which("rspamd") else None
    ways = {"no filter": dns + "filter: {authentication: {enabled: false}}\n",
            "SPF, DKIM (2 signatures), DMARC": dns + "filter: {checkLoopback: true}\n"}
    if rspamd:
        ways["rspamd"] = dns + ("filter: {authentication: {enabled: false}, "
                                f"scanners: {{rspamd: {{servers: ['127.0.0.1:{rspamd.port}']}}}}}}\n")
    server = Ekitei(directory / "ekitei", options.ekitei)
    results = {}
    try:
        for number in range(options.rounds):
            for name, extra in ways.items():
                server.configure(extra)
                server.start()
                if number == 0 and not results:
                    server.add_users(["reader@" + DOMAIN])
                found = rate(server, message, options.messages)
                results.setdefault(name, []).append(found)
                say(f"{name}: {found[0]:.0f} messages/s, {found[1]:.0f} us each")
                server.stop()
    finally:
        server.stop()
        knot.stop()
        if rspamd:
            rspamd.stop()
    shutil.rmtree(directory)
    median = lambda name, index: statistics.median(found[index] for found in results[name])
    rows = "".join(f"| {name} | {median(name, 0):.0f} | {median(name, 1):.0f} |\n" for name in results)
    text = options.output.read_text() if options.output.exists() else ""
    section = f"""{MARK}
| filter | messages/s until readable | processor time of the service per message (µs) |
|---|---:|---:|
{rows}
{options.messages} messages of 5 kB with two signatures, {SESSIONS} senders, a connection for each message, into one mailbox; names from Knot DNS on this machine
(`tests/bench/filters.py`). The senders are written in Python and take a core for themselves, which bounds the rate; rspamd's own processor time is not in the
last column. Medians of {options.rounds} rounds.
"""
    options.output.write_text(re.split(re.escape(MARK), text)[0] + section)
    print(section)


if __name__ == "__main__":
    main()
