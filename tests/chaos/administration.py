"""Programs that use the admin API of any process: one stores certificates, several share a lock, one makes backups.

What they were answered is remembered here, and compared with what the cluster says and does at the end."""

import hashlib
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import threading
import time

from workload import TIMEOUT, Client

# Names of stored certificates, and how many there are to choose from for each.
NAMES, EDITIONS = ("one", "two"), 3
LOCK = "chaos"


def ask(cluster, method, path, body=None, process=None):
    """What the admin API says: ("acknowledged" | "refused" | "unknown", answer)."""
    connection = http.client.HTTPConnection("127.0.0.1", cluster.port("http", process), timeout=TIMEOUT)
    try:
        headers = {"Authorization": f"Bearer {(cluster.directory / 'token').read_text().strip()}", "Content-Type": "application/json"}
        connection.request(method, f"/api/v1/{path}", body and json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException):
        return "unknown", None
    finally:
        connection.close()
    if answer.status >= 500:
        return "unknown", None
    return ("acknowledged" if answer.status < 400 else "refused"), (json.loads(text) if text else None)


class Certificates:
    """Certificates for `NAME.chaos.test`, and which of them each name may have."""

    def __init__(self, directory):
        self.pem = {(name, n): self._make(pathlib.Path(directory), name, n) for name in NAMES for n in range(EDITIONS)}
        self.allowed = {name: {None} for name in NAMES}

    @staticmethod
    def _make(directory, name, n):
        key, certificate = directory / f"{name}-{n}.key", directory / f"{name}-{n}.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}.chaos.test", "-keyout", key, "-out", certificate],
                       check=True, capture_output=True)
        return {"certificate": certificate.read_text(), "key": key.read_text()}

    def sha256(self, name, n):
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.pem[name, n]["certificate"])).hexdigest()

    def audit(self, cluster):
        """Every process has one of the certificates that each name may have, the same one, and shows it to clients."""
        broken = []
        for name, allowed in self.allowed.items():
            for process in range(1, cluster.processes + 1):
                outcome, stored = ask(cluster, "GET", f"certificates/{name}", process=process)
                found = stored["sha256"] if outcome == "acknowledged" else None
                if outcome == "unknown" or found not in allowed:
                    broken.append(f"certificate {name} at process {process}: allowed was {allowed}, found {outcome} {found}")
                allowed = {found}
                shown = self._shown(cluster, process, name)
                if found and shown != found:
                    broken.append(f"process {process} shows {shown} for {name}.chaos.test, and {found} is stored")
        return broken

    @staticmethod
    def _shown(cluster, process, name):
        """What a client is shown; after a start or a change a process has a moment to read it."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        time.sleep(1)
        with socket.create_connection(("127.0.0.1", cluster.port("imaps", process)), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=f"{name}.chaos.test") as session:
                return hashlib.sha256(session.getpeercert(binary_form=True)).hexdigest()


class Certifier(Client):
    """The only one who stores and removes certificates."""

    def __init__(self, cluster, ledger, seed, certificates):
        super().__init__(cluster, ledger, seed)
        self.certificates = certificates

    def session(self):
        name, n = self.random.choice(NAMES), self.random.randint(0, EDITIONS)
        if n < EDITIONS:
            outcome, _ = ask(self.cluster, "PUT", f"certificates/{name}", self.certificates.pem[name, n])
            after = {self.certificates.sha256(name, n)}
        else:
            outcome, _ = ask(self.cluster, "DELETE", f"certificates/{name}")
            after = {None}
            if outcome == "refused" and None in self.certificates.allowed[name]:
                outcome = "acknowledged"  # there is none, as there may be
        before = self.certificates.allowed[name]
        self.certificates.allowed[name] = {"acknowledged": after, "refused": before, "unknown": before | after}[outcome]
        self.ledger.count(outcome)
        self.worked |= outcome == "acknowledged"
        time.sleep(self.random.uniform(0.2, 1))


class Grants:
    """Who certainly held the lock, and when; what contradicts that."""

    def __init__(self):
        self.lock = threading.Lock()
        # Each has holder, token, and since and until when it was certainly held: from the answer until the time asked for, counted from the question.
        self.grants = []
        self.broken = []

    def granted(self, holder, token, asked, answered, seconds):
        """Notes that the lock was taken or renewed between `asked` and `answered`."""
        grant = {"holder": holder, "token": token, "since": answered, "until": asked + seconds}
        with self.lock:
            for other in self.grants[-200:]:
                if other["holder"] != holder and other["since"] <= asked and answered <= other["until"]:
                    self.broken.append(f"the lock was granted to {holder} while {other['holder']} had it: {grant}, {other}")
                if other["since"] <= asked and token < other["token"] + (other["holder"] != holder):
                    self.broken.append(f"the token of the lock did not rise: {other}, then {grant}")
            self.grants.append(grant)
        return grant

    def gives_back(self, holder):
        """From now on it may be another's."""
        with self.lock:
            for grant in self.grants[-200:]:
                if grant["holder"] == holder:
                    grant["until"] = min(grant["until"], time.monotonic())

    def audit(self):
        holders = {grant["holder"] for grant in self.grants}
        return self.broken + ([] if len(holders) > 1 else [f"only {holders} ever had the lock: nothing was tested"])


class Locker(Client):
    """One of those who share a lock."""

    def __init__(self, cluster, ledger, seed, grants):
        super().__init__(cluster, ledger, seed)
        self.grants, self.holder = grants, f"holder-{seed}"

    def session(self):
        seconds, asked = self.random.randint(2, 6), time.monotonic()
        outcome, lock = ask(self.cluster, "PUT", f"locks/{LOCK}", {"holder": self.holder, "seconds": seconds})
        self.ledger.count(outcome)
        if outcome == "acknowledged":
            self.worked = True
            self.grants.granted(self.holder, lock["token"], asked, time.monotonic(), seconds)
            time.sleep(self.random.uniform(0, 1))
            if self.random.random() < 0.6:
                self.grants.gives_back(self.holder)
                ask(self.cluster, "DELETE", f"locks/{LOCK}?holder={self.holder}")
        time.sleep(self.random.uniform(0.1, 0.6))


class Archivist(Client):
    """Orders backups, and now and then has old ones removed. The jobs of a process that died fail, which is no broken promise."""

    done = 0

    def session(self):
        jobs = [{"action": "create"}, {"action": "prune", "keep_last": 3}] if self.number % 4 == 3 else [{"action": "create"}]
        self.number += 1
        for order in jobs:
            outcome, job = ask(self.cluster, "POST", "backup-jobs", order)
            self.worked |= outcome == "acknowledged"
            while outcome == "acknowledged" and job["state"] in ("waiting", "running") and not self.stopped.is_set():
                time.sleep(2)
                answered, found = ask(self.cluster, "GET", f"backup-jobs/{job['id']}")
                job = found if answered == "acknowledged" else job
            if outcome == "acknowledged" and job["state"] == "done":
                self.done += 1
        self.stopped.wait(self.random.uniform(5, 15))


def last_backup(cluster):
    """Makes a backup of what is there, and reads everything that the backups have; what is wrong with them."""
    made = cluster.run_json("backup", "create")["snapshot"]
    report = cluster.run_json("backup", "verify", "--full")["report"]
    return made, [f"backup: {problem}" for problem in report["problems"]]
