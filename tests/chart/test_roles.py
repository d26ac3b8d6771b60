"""Pods by role over FoundationDB and S3, as processes: mail comes in at one, is read at another and handed in at a third; and a pod of a region, from the template
that the operator uses. Run as root (see node.py), with a service that was built with FoundationDB.
"""

import base64
import imaplib
import os
import pathlib
import shutil
import smtplib
import subprocess
import tempfile
import time
import unittest
import urllib.error
import urllib.request

import yaml

import chart
import node
from test_pods import ADDRESS, PASSWORD, unverified

S3 = f"http://{node.GATEWAY}:5000"
CLUSTER_FILE = f"ekitei:local@{node.GATEWAY}:4500"
VALUES = {
    "topology": "roles",
    "store": {"kind": "foundationdb", "foundationdb": {"clusterFile": {"existingSecret": "fdb"}}},
    "bodies": {"kind": "s3", "s3": {"endpoint": S3, "bucket": "mail", "region": "us-east-1", "pathStyle": True, "existingSecret": "s3", "cache": {"size": "1Gi"}}},
    "signing": {"existingSecret": "signing"},
    "encryption": {"enabled": True, "existingSecret": "encryption"},
    "shutdown": {"preStopSeconds": 1, "graceSeconds": 10},
}
# As much of a signature as the server looks at.
SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=ekitei/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"}
KEY = base64.b64encode(b"k" * 32).decode()


def secret(name, **data):
    encoded = {key.replace("_", "-"): base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}


def moto():
    return shutil.which("moto_server") or str(chart.CACHE / "moto" / "bin" / "moto_server")


class Stores:
    """FoundationDB and an S3 server, at the address of the node."""

    def __init__(self, directory):
        self.processes = []
        file = directory / "fdb.cluster"
        file.write_text(CLUSTER_FILE)
        for part in ("data", "logs"):
            (directory / part).mkdir()
        self.begin(directory, "fdbserver", "-p", f"{node.GATEWAY}:4500", "-d", directory / "data", "-L", directory / "logs", "-C", file)
        self.begin(directory, moto(), "-H", node.GATEWAY, "-p", "5000")
        self.wait(lambda: self.database(file, "configure new single memory") or self.database(file, "status minimal"))
        self.wait(lambda: b"is available" in self.database(file, "status minimal"))
        self.wait(self.make_bucket)

    def begin(self, directory, *command):
        with (directory / f"{pathlib.Path(command[0]).name}.log").open("wb") as log:
            command = ["setpriv", "--pdeathsig", "KILL", *map(str, command)]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    @staticmethod
    def database(file, command):
        done = subprocess.run(["fdbcli", "-C", file, "--timeout", "5", "--exec", command], capture_output=True, timeout=30)
        return done.stdout if done.returncode == 0 else b""

    @staticmethod
    def make_bucket():
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{S3}/mail", method="PUT"), timeout=5) as answer:
                return answer.status == 200
        except urllib.error.URLError:
            return False

    @staticmethod
    def wait(done, limit=60):
        deadline = time.monotonic() + limit
        while not done():
            if time.monotonic() > deadline:
                raise AssertionError("the stores did not come up")
            time.sleep(0.3)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()


class Roles(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="ekitei-roles-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.node = node.Node()
        (cls.directory / "stores").mkdir()
        stores = Stores(cls.directory / "stores")
        cls.addClassCleanup(stores.close)
        cls.objects = chart.render(**VALUES)
        cls.node.directory, cls.node.binaries = cls.directory, {"ekitei": chart.binary("ekitei")}
        cls.node.apply(cls.objects)
        cls.node.apply([
            secret("fdb", cluster_file=CLUSTER_FILE), secret("signing", key=KEY), secret("encryption", key=KEY),
            secret("s3", access_key_id="ekitei", secret_access_key="ekitei-secret"),
        ])
        cls.addClassCleanup(cls.node.stop)
        templates = dict(chart.pod_templates(cls.objects))
        cls.pods = {role: cls.node.start(f"ekitei-{role}-0", templates[f"ekitei-{role}"]) for role in ("mx", "submission", "imap", "worker")}
        cls.pods["region"] = cls.node.start("ekitei-mx-tokyo-0", templates["ekitei-region"])
        for pod in cls.pods.values():
            pod.wait_ready(90)
        cls.services = {name: cls.node.serve(f"ekitei-{name}") for name in ("mx", "submission", "imap", "admin")}
        cls.pods["worker"].execute("ekitei", "domain", "add", ADDRESS.split("@")[1])
        cls.pods["worker"].execute("ekitei", "account", "add", ADDRESS, "--password", PASSWORD)

    def subjects(self):
        with imaplib.IMAP4_SSL(self.services["imap"], 993, ssl_context=unverified(), timeout=20) as client:
            client.login(ADDRESS, PASSWORD)
            client.select("INBOX")
            return str(client.fetch("1:*", "(BODY[HEADER.FIELDS (SUBJECT)])")[1])

    def test_helm_test_passes_through_the_services_of_the_roles(self):
        pod = self.node.start("ekitei-test", dict(chart.pod_templates(self.objects))["ekitei-test"])
        self.assertEqual(pod.wait(90), 0, pod.log.read_text())

    def test_mail_to_the_mx_pods_and_to_those_of_a_region_is_read_at_the_imap_pods(self):
        region = self.pods["region"]
        for subject, (host, port) in {"At home": (self.services["mx"], 25), "In a region": (region.address, region.port("smtp"))}.items():
            with smtplib.SMTP(host, port, local_hostname="client.elsewhere.test", timeout=30) as client:
                client.sendmail("bob@elsewhere.test", [ADDRESS], f"Subject: {subject}\r\n\r\nx\r\n")
            self.assertIn(subject, self.subjects())

    def test_mail_of_users_is_handed_in_at_the_submission_pods(self):
        with smtplib.SMTP_SSL(self.services["submission"], 465, context=unverified(), timeout=30) as client:
            client.login(ADDRESS, PASSWORD)
            client.sendmail(ADDRESS, [ADDRESS], f"From: {ADDRESS}\r\nSubject: Handed in\r\n\r\nx\r\n")
        self.assertIn("Handed in", self.subjects())

    def test_a_large_message_goes_to_the_bucket_encrypted(self):
        text = "The same line again and again, so long that it is not kept with its metadata. " + os.urandom(600_000).hex()
        lines = "\r\n".join(text[at : at + 900] for at in range(0, len(text), 900))
        with smtplib.SMTP(self.services["mx"], 25, local_hostname="client.elsewhere.test", timeout=60) as client:
            client.sendmail("bob@elsewhere.test", [ADDRESS], f"Subject: Large\r\n\r\n{lines}\r\n")
        with urllib.request.urlopen(f"{S3}/mail?list-type=2", timeout=10) as answer:
            keys = [part.split("<")[0] for part in answer.read().decode().split("<Key>")[1:]]
        self.assertTrue(keys)
        for key in keys:
            with urllib.request.urlopen(urllib.request.Request(f"{S3}/mail/{key}", headers=SIGNED), timeout=30) as answer:
                self.assertNotIn(b"The same line again", answer.read())
        self.assertIn("Large", self.subjects())

    def test_each_role_listens_on_its_own_ports_only(self):
        self.assertRaises(OSError, smtplib.SMTP, self.pods["imap"].address, 2525, timeout=5)
        self.assertRaises(OSError, smtplib.SMTP, self.pods["worker"].address, 2525, timeout=5)
        self.assertRaises(OSError, imaplib.IMAP4, self.pods["mx"].address, 1430, 5)

    def test_all_pods_see_one_another_and_the_worker_does_the_work(self):
        listed = yaml.safe_load(self.pods["mx"].execute("ekitei", "node", "list", "--output", "json").stdout)
        work = {each["host"]: each["leads"] for each in listed}
        self.assertEqual(set(work), {pod.name for pod in self.pods.values()})
        self.assertEqual([host for host, held in work.items() if held], ["ekitei-worker-0"])


if __name__ == "__main__":
    node.enter()
    unittest.main(verbosity=2)
