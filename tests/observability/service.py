"""A service to be watched: the real binary, with a folder, ports and an administrator of its own, on loopback."""

import json
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from names import Names

TOKEN = "token-of-the-observability-tests"
DOMAIN = "observed.test"
PASSWORD = "a-password-of-the-observability-tests"
REGION = "tokyo"
PROTOCOLS = ("smtp", "submission", "imap", "imaps", "pop3", "http")
START = 60


def free_ports(count):
    """Ports that nobody has now. All are held until the last is found, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_until(what, ready, patience=START):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{what}: not within {patience} s")


class Program:
    """A process with a log, ended by its id."""

    def __init__(self, name, folder, command):
        self.name, self.log = name, pathlib.Path(folder) / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)

    def alive(self):
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-30:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n" + "\n".join(tail))
        return True

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def make_certificate(folder):
    """`cert.pem` and `key.pem`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True)


class Service(Program):
    """`ekitei serve` over an embedded store; bodies are in `bucket`, if there is one, so that all metrics of object stores are there."""

    def __init__(self, binary, folder, relay_ports, bucket=None):
        self.folder = pathlib.Path(folder)
        self.ports = dict(zip(PROTOCOLS, free_ports(len(PROTOCOLS))))
        (self.folder / "ekitei.yaml").write_text(json.dumps(self._configuration(relay_ports, bucket), indent=1))
        super().__init__("ekitei", folder, [binary, "serve", "--config", "ekitei.yaml"])
        wait_until("the service", lambda: self.alive() and self._ready())

    def _configuration(self, relay_ports, bucket):
        """JSON is YAML. Limits that would keep the one address of all clients out are off; what it takes to see every metric is on."""
        bodies = {"kind": "directory", "path": "blobs", **(bucket or {})}
        bodies |= {"inlineLimit": "16KiB", "packing": {"interval": "1s", "minAge": "1s", "maxAge": "3s", "segmentSize": "1MiB"}}
        return {
            "hostname": "localhost",
            "cluster": {"region": REGION},
            "store": {"kind": "embedded", "path": "store"},
            "blobs": bodies,
            "tls": {"certificates": [{"certificate": "cert.pem", "key": "key.pem"}]},
            "admin": {"token": TOKEN, "protectMetrics": True},
            "listeners": [{"protocol": name, "address": f"127.0.0.1:{port}"} for name, port in self.ports.items()],
            "smtp": {
                "maxConnectionsPerAddress": 0, "connectionsPerAddressPerMinute": 0, "messagesPerAddressPerMinute": 0, "tarpitDelay": "0s",
                "submission": {"messagesPerAccountPerMinute": 0, "recipientsPerAccountPerDay": 0, "allowInsecureAuth": True},
            },
            "imap": {"maxConnectionsPerAddress": 0, "connectionsPerAddressPerMinute": 0, "allowInsecureAuth": True},
            "pop3": {"connectionsPerAddressPerMinute": 0, "allowInsecureAuth": True},
            "dns": {"servers": [Names().address], "dnssec": False},
            "filter": {"checkLoopback": True},
            "relay": {"routes": [
                {"destinations": [name], "host": "127.0.0.1", "port": port} for name, port in relay_ports.items()
            ]},
            "queue": {"retrySchedule": ["2s"], "backoff": ["2s"]},
            "backup": {"encryptionKey": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "path": "backups", "interval": "5m"},
            "signing": {"maintenanceInterval": "2s"},
        }

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['http']}/healthz/ready", timeout=2) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def api(self, method, path, content=None):
        """Asks the admin API; an error of it is one here."""
        body = None if content is None else json.dumps(content).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports['http']}{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def populate(self):
        """A domain with accounts and signing keys."""
        self.api("POST", "/api/v1/domains", {"name": DOMAIN})
        for name in ("alice", "bob"):
            self.api("POST", "/api/v1/accounts", {"address": f"{name}@{DOMAIN}", "password": PASSWORD})
        self.api("POST", "/api/v1/dkim-keys", {"domain": DOMAIN, "now": True})
