"""The two services that are compared, each started privately: own directory, own loopback ports, own processes.

Nothing of the machine's own mail system is touched. Both are run with what their packages ship, except for what
`changes` lists, and those lines go into the report.
"""

import json
import pathlib
import resource
import shutil
import socket
import subprocess
import time
import urllib.request

DOMAIN = "example.test"
PASSWORD = "secret-of-the-benchmark"
HOST = "localhost"


def users(count):
    """The addresses of the mailboxes."""
    return [f"user{number:03}@{DOMAIN}" for number in range(count)]


def free_port(used=set()):
    """A port that is free now and was not given before."""
    for port in range(24000, 32000):
        if port in used:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        used.add(port)
        return port
    raise RuntimeError("no free port")


def wait_for(what, ready, limit=60):
    """Waits until `ready()` is true."""
    end = time.monotonic() + limit
    while not ready():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {limit} s for {what}")
        time.sleep(0.02)


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def allow_many_files():
    """1,000 connections need more descriptors than a shell gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def tree(pid):
    """The process and all its descendants."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def memory(pids):
    """Proportional set size in kB: what several processes share is counted once."""
    total = 0
    for pid in pids:
        try:
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total


def make_certificate(directory):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", directory / "key.pem",
         "-out", directory / "cert.pem"], check=True, capture_output=True)


def postfix_services(port):
    """Postfix's master.cf as it is shipped, without chroot, on a port of 127.0.0.1."""
    lines = []
    for line in pathlib.Path("/usr/share/postfix/master.cf.dist").read_text().splitlines():
        fields = line.split()
        if len(fields) >= 8 and not line.startswith(("#", " ", "\t")):
            if fields[0] == "smtp" and fields[1] == "inet":
                fields[0] = f"127.0.0.1:{port}"
            fields[4] = "n"
            line = "\t".join(fields)
        lines.append(line)
    return "\n".join(lines) + "\n"


class Ekitei:
    """Our own binary on its embedded store."""

    name = "Ekitei"
    changes = [
        "limits per address and per account off (all load comes from one address)",
        "logins without TLS allowed on the plain IMAP port",
    ]

    def __init__(self, directory, binary):
        self.directory, self.binary = directory, pathlib.Path(binary).resolve()
        directory.mkdir(parents=True)
        make_certificate(directory)
        self.smtp, self.imap, self.imaps, self.http = (free_port() for _ in range(4))
        self.process = None
        (directory / "ekitei.yaml").write_text(f"""
hostname: {HOST}
store: {{kind: embedded, path: {directory}/store}}
blobs: {{path: {directory}/blobs}}
tls: {{certificates: [{{certificate: {directory}/cert.pem, key: {directory}/key.pem}}]}}
admin: {{token: bench}}
listeners:
  - {{protocol: smtp, address: '127.0.0.1:{self.smtp}'}}
  - {{protocol: imap, address: '127.0.0.1:{self.imap}'}}
  - {{protocol: imaps, address: '127.0.0.1:{self.imaps}'}}
  - {{protocol: http, address: '127.0.0.1:{self.http}'}}
smtp:
  maxConnectionsPerAddress: 0
  connectionsPerAddressPerMinute: 0
  messagesPerAddressPerMinute: 0
imap:
  allowInsecureAuth: true
  maxConnectionsPerAddress: 0
  connectionsPerAddressPerMinute: 0
  maxConnectionsPerAccount: 0
""")

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True).stdout.strip()

    def start(self):
        log = open(self.directory / "log", "a")
        self.process = subprocess.Popen([self.binary, "serve", "--config", self.directory / "ekitei.yaml"],
                                        stdout=log, stderr=log, cwd=self.directory)
        wait_for("Ekitei", lambda: listening(self.imap) and listening(self.http))

    def add_users(self, addresses):
        self.create("domains", {"name": DOMAIN})
        for address in addresses:
            self.create("accounts", {"address": address, "password": PASSWORD})

    def create(self, collection, thing):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}/api/v1/{collection}", json.dumps(thing).encode(),
            {"Authorization": "Bearer bench", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 201, answer.status

    def metrics(self):
        """All samples, summed over their labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        samples = {}
        for line in text.splitlines():
            if line.startswith("ekitei_"):
                name = line.split("{")[0].split(" ")[0]
                try:
                    samples[name] = samples.get(name, 0) + float(line.rsplit(" ", 1)[1])
                except ValueError:
                    pass
        return samples

    def memory(self):
        return memory(tree(self.process.pid))

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


class PostfixDovecot:
    """Debian's Postfix hands over to Debian's Dovecot by LMTP; Maildir; both fsync as they are shipped."""

    name = "Postfix + Dovecot"
    changes = [
        "Postfix: limits of clients off (`smtpd_client_*_limit = 0`), no chroot, own queue directory",
        "Dovecot: `mail_max_userip_connections` and the limits of processes and clients raised for 1,000 connections; no "
        "delay after failed logins; one static password for all users, so its logins cost less than ours",
    ]

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir(parents=True)
        make_certificate(directory)
        self.smtp, self.imap, self.imaps = (free_port() for _ in range(3))
        self._write_dovecot()
        self._write_postfix()

    def _write_dovecot(self):
        mail = self.directory / "mail"
        mail.mkdir()
        shutil.chown(mail, "nobody", "nogroup")
        (self.directory / "dovecot.conf").write_text(f"""
base_dir = {self.directory}/dovecot
state_dir = {self.directory}/dovecot-state
log_path = {self.directory}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
mail_location = maildir:~/Maildir
ssl_cert = <{self.directory}/cert.pem
ssl_key = <{self.directory}/key.pem
disable_plaintext_auth = no
auth_failure_delay = 0
mail_max_userip_connections = 5000
default_process_limit = 5000
default_client_limit = 20000
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={mail}/%u
}}
service imap-login {{
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = {self.imaps}
    ssl = yes
  }}
}}
service imap {{
  process_limit = 5000
}}
service lmtp {{
  unix_listener lmtp {{
    path = {self.directory}/lmtp
    mode = 0666
  }}
}}
namespace inbox {{
  inbox = yes
}}
""")

    def _write_postfix(self):
        config = self.directory / "postfix"
        config.mkdir()
        for name in ("queue", "data"):
            (self.directory / name).mkdir()
        shutil.chown(self.directory / "data", "postfix")
        (config / "main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {self.directory}/queue
data_directory = {self.directory}/data
maillog_file = {self.directory}/postfix.log
maillog_file_prefixes = {self.directory}
myhostname = {HOST}
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
virtual_mailbox_domains = {DOMAIN}
virtual_mailbox_maps = static:ok
virtual_transport = lmtp:unix:{self.directory}/lmtp
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_client_message_rate_limit = 0
smtpd_client_recipient_rate_limit = 0
""")
        (config / "master.cf").write_text(postfix_services(self.smtp))

    def version(self):
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}, ", "postfix", "dovecot-core"],
                               capture_output=True, text=True)
        return shown.stdout.strip(", ")

    def start(self):
        subprocess.run(["dovecot", "-c", self.directory / "dovecot.conf"], check=True)
        subprocess.run(["postfix", "-c", self.directory / "postfix", "start"], check=True, capture_output=True)
        wait_for("Postfix and Dovecot", lambda: listening(self.smtp) and listening(self.imap))

    def add_users(self, addresses):
        """The static databases know everybody."""

    def metrics(self):
        return {}

    def memory(self):
        return memory(self._pids())

    def _pids(self):
        masters = [self.directory / "dovecot/master.pid", self.directory / "queue/pid/master.pid"]
        return [pid for master in masters if master.exists() for pid in tree(int(master.read_text()))]

    def stop(self):
        pids = self._pids()
        subprocess.run(["postfix", "-c", self.directory / "postfix", "stop"], capture_output=True)
        subprocess.run(["doveadm", "-c", self.directory / "dovecot.conf", "stop"], capture_output=True)
        wait_for("Postfix and Dovecot to end", lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids))
