"""The pods of the chart, run as processes of this machine: probes pass, mail flows through the Services, and they end within their grace.

A wrong path, flag, port or permission in the chart ends here and not in a cluster. Run as root: it makes namespaces (see node.py).
"""

import contextlib
import copy
import imaplib
import pathlib
import poplib
import shutil
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import unittest

import chart
import node

ADDRESS = "alice@new.example.test"
PASSWORD = "a password of the test"


def proxy_v2(peer):
    """The header of a load balancer: a connection over TCP and IPv4 from `peer` (PROXY protocol, version 2)."""
    addresses = socket.inet_aton(peer[0]) + socket.inet_aton(node.GATEWAY) + struct.pack("!HH", peer[1], 25)
    return b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + struct.pack("!H", len(addresses)) + addresses


def unverified():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Installation:
    """A rendered chart whose pods run."""

    def __init__(self, workload, **values):
        values.setdefault("shutdown", {"preStopSeconds": 1, "graceSeconds": 10})
        self.objects = chart.render(**values)
        self.directory = tempfile.mkdtemp(prefix="ekitei-pods-")
        binaries = {"ekitei": chart.binary("ekitei")}
        self.node = NODE.with_objects(self.objects, self.directory, binaries)
        (made,) = [
            each
            for each in self.objects
            if each["metadata"]["name"] == workload and each["kind"] in ("StatefulSet", "Deployment")
        ]
        claims = made["spec"].get("volumeClaimTemplates", [])
        self.pod = self.node.start(f"{workload}-0", made["spec"]["template"], claims)
        self.pod.wait_ready()

    def add_account(self):
        self.pod.execute("ekitei", "domain", "add", ADDRESS.split("@")[1])
        self.pod.execute("ekitei", "account", "add", ADDRESS, "--password", PASSWORD)

    def close(self):
        self.node.stop()
        shutil.rmtree(self.directory)


class DefaultInstallation(unittest.TestCase):
    """What `helm install ekitei charts/ekitei` runs, with its one pod."""

    @classmethod
    def setUpClass(cls):
        cls.installation = Installation("ekitei-all")
        cls.addClassCleanup(cls.installation.close)
        cls.node, cls.pod = cls.installation.node, cls.installation.pod
        cls.service = cls.node.serve("ekitei-all")
        cls.admin = cls.node.serve("ekitei-admin")
        cls.installation.add_account()

    def test_mail_from_swaks_through_the_service_is_read_over_imap(self):
        sent = subprocess.run(
            ["swaks", "--server", self.service, "--port", "25", "--tls", "--to", ADDRESS, "--from", "bob@elsewhere.test",
             "--helo", "client.elsewhere.test", "--header", "Subject: Through the Service", "--timeout", "30"],
            capture_output=True, text=True, timeout=60,
        )
        self.assertEqual(sent.returncode, 0, sent.stdout + sent.stderr)
        with imaplib.IMAP4_SSL(self.service, 993, ssl_context=unverified(), timeout=20) as client:
            client.login(ADDRESS, PASSWORD)
            client.select("INBOX")
            self.assertNotEqual(client.search(None, "SUBJECT", '"Through the Service"')[1], [b""])

    def test_every_port_of_the_service_speaks_its_protocol(self):
        with smtplib.SMTP(self.service, 587, timeout=20) as client:
            client.starttls(context=unverified())
            client.login(ADDRESS, PASSWORD)
        with smtplib.SMTP_SSL(self.service, 465, context=unverified(), timeout=20) as client:
            client.login(ADDRESS, PASSWORD)
        with imaplib.IMAP4(self.service, 143, timeout=20) as client:
            client.starttls(unverified())
            client.login(ADDRESS, PASSWORD)
        client = poplib.POP3_SSL(self.service, 995, timeout=20, context=unverified())
        client.user(ADDRESS)
        client.pass_(PASSWORD)
        client.quit()
        client = poplib.POP3(self.service, 110, timeout=20)
        client.stls(unverified())
        client.quit()
        with socket.create_connection((self.service, 443), timeout=20) as plain:
            with unverified().wrap_socket(plain, server_hostname="mta-sts.new.example.test") as page:
                page.sendall(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.new.example.test\r\n\r\n")
                self.assertIn(b"HTTP/1.1 200", page.recv(4096))

    def test_programs_are_told_the_ports_of_the_services_and_not_those_of_the_pods(self):
        with socket.create_connection((self.service, 443), timeout=20) as plain:
            with unverified().wrap_socket(plain, server_hostname="autoconfig.new.example.test") as page:
                page.sendall(
                    b"GET /mail/config-v1.1.xml?emailaddress=" + ADDRESS.encode() + b" HTTP/1.1\r\n"
                    b"Host: autoconfig.new.example.test\r\nConnection: close\r\n\r\n"
                )
                text = b"".join(iter(lambda: page.recv(65536), b"")).decode()
        self.assertIn("<port>993</port>", text)
        self.assertIn("<port>465</port>", text)
        self.assertNotIn("9930", text)

    def test_a_ban_of_everyone_leaves_the_probes_alone(self):
        self.pod.execute("ekitei", "ban", "add", node.GATEWAY, "--duration", "1h")
        try:
            with self.assertRaises((smtplib.SMTPException, OSError)):
                smtplib.SMTP(self.pod.address, 2525, timeout=20).sendmail("a@b.test", [ADDRESS], "x")
            for name in ("livenessProbe", "readinessProbe"):
                passed, answer = self.pod.probe(name)
                self.assertTrue(passed, answer)
        finally:
            self.pod.execute("ekitei", "ban", "remove", node.GATEWAY)

    def test_helm_test_passes(self):
        """The pod of `helm test`, with the names of Services that it is given."""
        pod = self.node.start("ekitei-test", self.template_of_helm_test())
        self.assertEqual(pod.wait(90), 0, pod.log.read_text())

    def test_helm_test_fails_when_mail_does_not_arrive(self):
        template = self.template_of_helm_test()
        (container,) = template["spec"]["containers"]
        container["args"] = [each.replace(":993", ":995") for each in container["args"]]
        container["args"].append("--timeout=3")
        pod = self.node.start("ekitei-test-broken", template)
        self.assertEqual(pod.wait(90), 1, pod.log.read_text())
        self.assertIn("FAILURE", pod.log.read_text())

    def template_of_helm_test(self):
        return copy.deepcopy(dict(chart.pod_templates(self.installation.objects))["ekitei-test"])

    def test_only_declared_volumes_can_be_written(self):
        for path, writable in [
            ("/var/lib/ekitei", True), ("/etc/ekitei", False), ("/etc/ekitei-secrets/admin", False),
            ("/usr/local/bin", False), ("/", False), ("/tmp", False),
        ]:
            with self.subTest(path):
                root = f"/proc/{self.pod.container_pid()}/root{path}"
                user = self.pod.security["runAsUser"]
                done = subprocess.run(
                    ["setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={user}", "--",
                     "touch", f"{root}/.written"],
                    capture_output=True, text=True, timeout=10,
                )
                self.assertEqual(done.returncode == 0, writable, done.stderr)


class Ending(unittest.TestCase):
    """What becomes of a pod that is deleted, and of its mail."""

    def test_a_pod_ends_within_its_grace_and_its_mail_is_there_when_it_comes_back(self):
        installation = Installation("ekitei-all")
        self.addCleanup(installation.close)
        installation.add_account()
        pod = installation.pod
        with smtplib.SMTP(pod.address, 2525, local_hostname="client.elsewhere.test", timeout=30) as client:
            client.sendmail("bob@elsewhere.test", [ADDRESS], "Subject: Before\r\n\r\nx\r\n")
        idle = imaplib.IMAP4_SSL(pod.address, 9930, ssl_context=unverified(), timeout=20)
        idle.login(ADDRESS, PASSWORD)

        code, seconds = pod.terminate()

        self.assertEqual(code, 0, pod.log.read_text())
        self.assertLess(seconds, 10)
        self.assertIn(b"BYE", idle.sock.recv(4096))
        idle.sock.close()
        self.assertLess(pod.spec["terminationGracePeriodSeconds"], 30)

        pod.forget()
        pod.start()
        pod.wait_ready()
        with imaplib.IMAP4_SSL(pod.address, 9930, ssl_context=unverified(), timeout=20) as client:
            client.login(ADDRESS, PASSWORD)
            self.assertEqual(client.select("INBOX")[1], [b"1"])

    def test_a_changed_secret_is_followed_without_a_restart(self):
        installation = Installation("ekitei-all", config={"tls": {"watchInterval": "1s"}})
        self.addCleanup(installation.close)
        pod = installation.pod
        before = certificate(pod)
        fresh = {key: node.base64.b64decode(text) for key, text in chart.find(chart.render(), "Secret", "ekitei-self-signed")["data"].items()}
        pod.project(pod.directory / "volumes" / "secret-tls-0", fresh, {"defaultMode": 0o440})
        for _ in range(100):
            if certificate(pod) != before:
                return
            node.time.sleep(0.1)
        self.fail("the certificate is still the former one")


def certificate(pod):
    with socket.create_connection((pod.address, 9930), timeout=20) as plain:
        with unverified().wrap_socket(plain) as connection:
            return connection.getpeercert(binary_form=True)


class BehindLoadBalancers(unittest.TestCase):
    """With the PROXY protocol: the client's address is that of the header, and only load balancers may send one."""

    @classmethod
    def setUpClass(cls):
        networks = {"enabled": True, "trustedNetworks": [f"{node.GATEWAY}/32"]}
        cls.installation = Installation("ekitei-all", proxyProtocol=networks)
        cls.addClassCleanup(cls.installation.close)
        cls.installation.add_account()

    def test_the_clients_address_is_that_of_the_header(self):
        public = self.installation.node.serve("ekitei-all", lambda _: proxy_v2(("203.0.113.7", 40000)))
        with smtplib.SMTP(public, 25, local_hostname="client.elsewhere.test", timeout=30) as client:
            client.sendmail("bob@elsewhere.test", [ADDRESS], "Subject: Balanced\r\n\r\nx\r\n")
        with imaplib.IMAP4_SSL(public, 993, ssl_context=unverified(), timeout=20) as client:
            client.login(ADDRESS, PASSWORD)
            client.select("INBOX")
            header = client.fetch("1", "(BODY[HEADER.FIELDS (RECEIVED)])")[1][0][1]
            self.assertIn(b"203.0.113.7", header)

    def test_the_direct_service_takes_no_header_and_the_public_one_nothing_else(self):
        direct = self.installation.node.serve("ekitei-all-direct")
        with smtplib.SMTP(direct, 25, timeout=20) as client:
            self.assertEqual(client.noop()[0], 250)
        with socket.create_connection((self.installation.pod.address, 12525), timeout=20) as client:
            client.sendall(b"EHLO client.elsewhere.test\r\n")
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(client.recv(100), b"", "the connection is closed without a word")


class Nodes:
    """The one network that all installations of this run share."""

    def __init__(self):
        self.node = None

    def with_objects(self, objects, directory, binaries):
        if self.node is None:
            self.node = node.Node()
        self.node.directory = pathlib.Path(directory)
        self.node.binaries = binaries
        self.node.apply(objects)
        return self.node


NODE = Nodes()

if __name__ == "__main__":
    node.enter()
    unittest.main(verbosity=2)
