"""The chart installed into a real API server, with all its pods as processes: the operator reconciles against the service, and mail flows for a domain that did not
exist a minute before. Run as root (see node.py).
"""

import imaplib
import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

import yaml

import chart
import node
from apiserver import ApiServer
from test_pods import unverified

NAMESPACE = "mail"
ADDRESS = "alice@new.example.test"
PASSWORD = "a password of the test"

# What a controller of the cluster makes of the Service and the pod that it selects.
ENDPOINTS = f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: ekitei-all-0, namespace: {NAMESPACE}, labels: {{kubernetes.io/service-name: ekitei-all}}}}
addressType: IPv4
endpoints: [{{addresses: [ADDRESS], conditions: {{ready: true}}}}]
ports: [{{name: smtp, port: 2525}}]
"""

# What a person applies. DNS is published by hand here; tests/kubernetes has a real DNS server.
OBJECTS = f"""
apiVersion: ekitei.dev/v1alpha1
kind: DNSProvider
metadata: {{name: by-hand, namespace: {NAMESPACE}}}
spec: {{zones: [example.test], manual: {{}}}}
---
apiVersion: ekitei.dev/v1alpha1
kind: MailRegion
metadata: {{name: here, namespace: {NAMESPACE}}}
spec:
  host: mx.new.example.test
  # The pods and the Service are those of the chart.
  placement: {{existingService: {{name: ekitei-all}}}}
  addresses: [192.0.2.25]
---
apiVersion: ekitei.dev/v1alpha1
kind: MailDomain
metadata: {{name: new, namespace: {NAMESPACE}}}
spec:
  domain: new.example.test
  homeRegion: here
  regions: [{{name: here}}]
  dns: {{provider: {{name: by-hand}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: alice, namespace: {NAMESPACE}}}
stringData: {{password: {PASSWORD}}}
---
apiVersion: ekitei.dev/v1alpha1
kind: MailAccount
metadata: {{name: alice, namespace: {NAMESPACE}}}
spec:
  address: {ADDRESS}
  password: {{secretRef: {{name: alice, key: password}}}}
"""


def until(what, limit, done):
    """Waits for something; fails with what was seen last."""
    deadline = time.monotonic() + limit
    while True:
        seen, answer = done()
        if seen:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit} s for {what}: {answer}")
        time.sleep(0.3)


class WholeInstallation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = node.Node(NAMESPACE)
        cls.node.resolver.zones.add("example.test")
        cls.directory = pathlib.Path(tempfile.mkdtemp(prefix="ekitei-operator-"))
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.server = ApiServer(node.GATEWAY)
        cls.addClassCleanup(cls.server.close)
        cls.server.run(
            "helm", "install", "ekitei", chart.CHART, "--namespace", NAMESPACE, "--create-namespace",
            "--set", "shutdown.preStopSeconds=1,shutdown.graceSeconds=10",
        )
        cls.server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        objects = list(yaml.safe_load_all(cls.server.run("helm", "get", "manifest", "ekitei", "--namespace", NAMESPACE)))
        cls.node.directory, cls.node.api = cls.directory, cls.server
        cls.node.binaries = {name: chart.binary(name) for name in ("ekitei", "ekitei-operator")}
        cls.node.apply(each for each in objects if each)
        cls.addClassCleanup(cls.node.stop)
        cls.service = cls.node.serve("ekitei-all")
        cls.node.serve("ekitei-admin")
        cls.pods = {}
        for kind, name in ("StatefulSet", "ekitei-all"), ("Deployment", "ekitei-operator"):
            made = cls.node.get(kind, name)
            pod = cls.node.start(f"{name}-0", made["spec"]["template"], made["spec"].get("volumeClaimTemplates", []))
            cls.pods[name] = pod
        for pod in cls.pods.values():
            pod.wait_ready(120)
        cls.server.kubectl("apply", "-f", "-", text=ENDPOINTS.replace("ADDRESS", cls.pods["ekitei-all"].address))

    def test_mail_flows_for_a_domain_that_did_not_exist_a_minute_before(self):
        self.server.kubectl("apply", "-f", "-", text=OBJECTS)

        until("the account", 90, self.logs_in)

        sent = subprocess.run(
            ["swaks", "--server", self.service, "--port", "25", "--tls", "--to", ADDRESS, "--from", "bob@elsewhere.test",
             "--helo", "client.elsewhere.test", "--header", "Subject: A new domain", "--timeout", "30"],
            capture_output=True, text=True, timeout=60,
        )
        self.assertEqual(sent.returncode, 0, sent.stdout + sent.stderr)
        with imaplib.IMAP4_SSL(self.service, 993, ssl_context=unverified(), timeout=20) as client:
            client.login(ADDRESS, PASSWORD)
            client.select("INBOX")
            self.assertNotEqual(client.search(None, "SUBJECT", '"A new domain"')[1], [b""])
        domain = until("the records that a person is to publish", 60, self.records)
        self.assertTrue(any("MX" in json.dumps(record) for record in domain["status"]["records"]), domain["status"])

    def logs_in(self):
        try:
            with imaplib.IMAP4_SSL(self.service, 993, ssl_context=unverified(), timeout=20) as client:
                client.login(ADDRESS, PASSWORD)
                return True, None
        except (imaplib.IMAP4.error, OSError) as error:
            objects = self.server.kubectl("get", "md,ma,mr,dp", "--namespace", NAMESPACE, "-o", "wide")
            return False, f"{error}\n{objects}\n{self.pods['ekitei-operator'].log.read_text()[-3000:]}"

    def records(self):
        domain = json.loads(self.server.kubectl("get", "md", "new", "--namespace", NAMESPACE, "-o", "json"))
        return bool(domain.get("status", {}).get("records")), domain

    def test_the_rights_of_the_operator_are_enough(self):
        """What it may not do it says in its log: nothing."""
        log = self.pods["ekitei-operator"].log.read_text()
        self.assertNotIn("orbidden", log)

    def test_the_operator_gives_its_lease_back_when_it_ends(self):
        operator = self.pods["ekitei-operator"]

        def holder():
            lease = json.loads(self.server.kubectl("get", "lease", "ekitei-operator", "--namespace", NAMESPACE, "-o", "json"))
            return lease["spec"].get("holderIdentity") or ""

        until("a leader", 60, lambda: (holder() != "", "nobody leads"))
        code, seconds = operator.terminate()
        self.assertEqual(code, 0, operator.log.read_text())
        self.assertLess(seconds, 20)
        self.assertEqual(holder(), "")
        operator.forget()
        operator.start()
        operator.wait_ready()


if __name__ == "__main__":
    node.enter()
    if chart.binary("ekitei-operator") is None:
        raise SystemExit("ekitei-operator is not built: cargo build -p ekitei-operator")
    unittest.main(verbosity=2)
