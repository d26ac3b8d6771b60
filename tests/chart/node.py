"""A node without Kubernetes: runs pods of rendered objects as processes of this machine, as a kubelet and its runtime would.

Each pod has a network namespace with an address of its own, a mount namespace whose root is read-only but for the declared volumes, and a process namespace in
which the container is process 1. It runs as the user of its security context, without capabilities and without a way to get some. Environment, Secrets,
ConfigMaps, claims, fsGroup, probes, preStop and the grace are those of the objects. Services have addresses, names in a DNS, and lead to the ports they name.

The whole needs root, and lives in namespaces of its own (`enter`): when the program ends, however it does, nothing of it is left.
"""

import base64
import contextlib
import ctypes
import http.client
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import chart

GATEWAY = "10.244.0.1"
DNS = "10.96.0.2"
NSENTER = shutil.which("nsenter")
LAUNCHER = pathlib.Path(__file__).resolve().parent / "launch.py"
# Of sched.h and prctl.h.
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1


def enter():
    """Goes on in network, mount and process namespaces of its own. What goes on is their process 1: when it ends, all of their processes are killed, and networks and
    mounts go with them. It is killed when who called it is."""
    chart.scratch()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "namespaces")
    inside = os.fork()
    if inside != 0:
        for each in signal.SIGINT, signal.SIGTERM:
            signal.signal(each, lambda *_: os.kill(inside, signal.SIGKILL))
        code = os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])
        sys.exit(code if code >= 0 else 128 - code)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    run("mount", "--make-rprivate", "/")
    run("mount", "-t", "proc", "proc", "/proc")


def run(*command):
    subprocess.run(command, check=True, capture_output=True, timeout=30)


class Node:
    """The node, with the objects that its pods refer to."""

    def __init__(self, namespace="mail"):
        # Where pods have their files; what the image has in /usr/local/bin, and elsewhere: set before pods are started.
        self.directory = None
        self.binaries = {}
        self.files = client_library()
        self.namespace = namespace
        self.objects = {}
        self.pods = {}
        self.services = {}
        # The API server, for pods that may ask it.
        self.api = None
        self.numbers = itertools.count(10)
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "cni0", "type", "bridge")
        run("ip", "address", "add", f"{GATEWAY}/24", "dev", "cni0")
        run("ip", "link", "set", "cni0", "up")
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        self.resolver = Resolver(self)

    def apply(self, objects):
        for each in objects:
            self.objects[each["kind"], each["metadata"]["name"]] = each

    def get(self, kind, name):
        """An object; naming one that is not there is what keeps a real pod from starting."""
        if (kind, name) not in self.objects:
            raise LookupError(f"{kind} {name} is not among the objects")
        return self.objects[kind, name]

    def start(self, name, template, claims=()):
        """Starts the pod of a template; `claims` are the volumeClaimTemplates of a StatefulSet."""
        pod = Pod(self, name, template, {claim["metadata"]["name"] for claim in claims})
        self.pods[name] = pod
        pod.start()
        return pod

    def serve(self, name, proxy_header=None):
        """Gives a Service its address and ports; the address. Each port leads to that of a pod which it selects, as `proxy_header` says with a PROXY header
        from the client's address before it, as load balancers send."""
        service = self.get("Service", name)
        address = f"10.96.0.{next(self.numbers)}"
        run("ip", "address", "add", f"{address}/32", "dev", "lo")
        self.services[name] = address
        for port in service["spec"]["ports"]:
            threading.Thread(
                target=self._forward, args=(service, address, port, proxy_header), daemon=True
            ).start()
        return address

    def _forward(self, service, address, port, proxy_header):
        listener = socket.create_server((address, port["port"]), backlog=64)
        while True:
            client, peer = listener.accept()
            threading.Thread(target=self._connect, args=(service, port, client, peer, proxy_header), daemon=True).start()

    def _connect(self, service, port, client, peer, proxy_header):
        with client, contextlib.suppress(OSError):
            pod = self.endpoint(service)
            if pod is None:
                return
            with socket.create_connection((pod.address, pod.port(port.get("targetPort", port["port"]))), timeout=10) as server:
                server.settimeout(None)
                if proxy_header:
                    server.sendall(proxy_header(peer))
                back = threading.Thread(target=pump, args=(server, client), daemon=True)
                back.start()
                pump(client, server)
                back.join()

    def endpoint(self, service):
        """A running pod that the Service selects."""
        wanted = service["spec"]["selector"].items()
        for pod in self.pods.values():
            if wanted <= pod.labels.items() and pod.is_running():
                return pod
        return None

    def stop(self):
        """Ends all pods, and forgets the Services and objects."""
        for pod in self.pods.values():
            pod.kill()
            pod.forget()
        for each in (self.pods, self.services, self.objects):
            each.clear()


def client_library():
    """FoundationDB's client, where it is only linked to from the system's libraries, which pods see."""
    library = os.path.realpath("/usr/lib/libfdb_c.so")
    return {library: library} if os.path.exists(library) and not library.startswith("/usr/lib/") else {}


def pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Resolver:
    """The DNS of the cluster: the names of Services, zones with nothing in them, and that there is nothing else."""

    A, NS, SOA = 1, 2, 6

    def __init__(self, node):
        run("ip", "address", "add", f"{DNS}/32", "dev", "lo")
        self.node = node
        self.zones = set()
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind((DNS, 53))
        self.streams = socket.create_server((DNS, 53))
        for serve in (self._serve_datagrams, self._serve_streams):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_datagrams(self):
        while True:
            question, client = self.datagrams.recvfrom(4096)
            self.datagrams.sendto(self.answer(question), client)

    def _serve_streams(self):
        while True:
            client, _ = self.streams.accept()
            with client, contextlib.suppress(OSError):
                client.settimeout(5)
                question = client.recv(4096)[2:]
                answer = self.answer(question) if question else b""
                client.sendall(struct.pack("!H", len(answer)) + answer)

    def answer(self, question):
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode("latin-1").lower())
            at += 1 + length
        end = at + 5
        kind = struct.unpack("!H", question[at + 1 : at + 3])[0]
        name = ".".join(labels)
        zone = next((zone for zone in self.zones if name == zone or name.endswith(f".{zone}")), None)
        known, answers, authority = False, [], []
        if zone:
            start_of_authority = self.soa(zone)
            known = name in (zone, f"ns.{zone}")
            answers = {(zone, self.SOA): [start_of_authority], (zone, self.NS): [self.record(zone, self.NS, encoded(f"ns.{zone}"))],
                       (f"ns.{zone}", self.A): [self.record(name, self.A, socket.inet_aton(DNS))]}.get((name, kind), [])
            authority = [] if answers else [start_of_authority]
        elif address := self.service(labels):
            known, answers = True, [self.record(name, self.A, socket.inet_aton(address))] if kind == self.A else []
        header = struct.pack("!HHHHH", 0x8580 if known else 0x8583, 1, len(answers), len(authority), 0)
        return question[:2] + header + question[12:end] + b"".join(answers + authority)

    def service(self, labels):
        """The address of the Service that a name is of, with or without what resolvers append to it."""
        inside = labels[1:3] in ([], [self.node.namespace, "svc"]) and labels[3:] in ([], ["cluster", "local"])
        return self.node.services.get(labels[0]) if labels and inside else None

    def soa(self, zone):
        return self.record(zone, self.SOA, encoded(f"ns.{zone}") + encoded(f"hostmaster.{zone}") + struct.pack("!IIIII", 1, 60, 60, 60, 5))

    @staticmethod
    def record(name, kind, data):
        return encoded(name) + struct.pack("!HHIH", kind, 1, 5, len(data)) + data


def encoded(name):
    """A name as it is on the wire (RFC 1035 section 3.1)."""
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


class Pod:
    """A pod with one container."""

    def __init__(self, node, name, template, claims):
        self.node, self.name, self.claims = node, name, claims
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        (self.container,) = self.spec["containers"]
        self.security = self.spec["securityContext"]
        self.directory = node.directory / name
        self.address = None
        self.log = self.directory / "log"
        self.process = None
        self.restarts = 0

    def port(self, name_or_number):
        for port in self.container.get("ports", []):
            if name_or_number in (port["name"], port["containerPort"]):
                return port["containerPort"]
        raise LookupError(f"{self.name} has no port {name_or_number}")

    # What it is given.

    def environment(self):
        found = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": self.name}
        if self.node.api:
            found |= {"KUBERNETES_SERVICE_HOST": self.node.api.address, "KUBERNETES_SERVICE_PORT": str(self.node.api.port)}
        for variable in self.container.get("env", []):
            found[variable["name"]] = self._value(variable)
        return found

    def _value(self, variable):
        source = variable.get("valueFrom")
        if source is None:
            return variable.get("value", "")
        if reference := source.get("secretKeyRef"):
            return base64.b64decode(self.node.get("Secret", reference["name"])["data"][reference["key"]]).decode()
        if reference := source.get("configMapKeyRef"):
            return self.node.get("ConfigMap", reference["name"])["data"][reference["key"]]
        fields = {"metadata.name": self.name, "metadata.namespace": self.node.namespace, "status.podIP": self.address}
        return fields[source["fieldRef"]["fieldPath"]]

    def _volumes(self):
        """The directory of each volume, filled and owned as the kubelet does it."""
        directories = {}
        for volume in self.spec.get("volumes", []):
            directories[volume["name"]] = self._volume(volume)
        for name in self.claims:
            directories[name] = self._writable(self.node.directory / "claims" / f"{name}-{self.name}")
        return directories

    def _volume(self, volume):
        directory = self.directory / "volumes" / volume["name"]
        if source := volume.get("configMap"):
            data = {key: text.encode() for key, text in self.node.get("ConfigMap", source["name"])["data"].items()}
            return self.project(directory, data, source)
        if source := volume.get("secret"):
            held = self.node.get("Secret", source["secretName"])["data"]
            return self.project(directory, {key: base64.b64decode(text) for key, text in held.items()}, source)
        if source := volume.get("persistentVolumeClaim"):
            return self._writable(self.node.directory / "claims" / source["claimName"])
        if "emptyDir" in volume:
            return self._writable(directory)
        raise NotImplementedError(f"volume {volume}")

    def _writable(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        group = self.security.get("fsGroup")
        if group is not None:
            os.chown(directory, 0, group)
            directory.chmod(0o2775)
        return directory

    def project(self, directory, data, source):
        """Writes files as the kubelet does: into a new directory, to which a link is then switched, so that they change all at once."""
        directory.mkdir(parents=True, exist_ok=True)
        fresh = directory / f"..{time.time_ns()}"
        fresh.mkdir()
        mode, group = source.get("defaultMode", 0o644), self.security.get("fsGroup")
        for key, content in data.items():
            file = fresh / key
            file.write_bytes(content)
            file.chmod(mode | (0o440 if group is not None else 0))
            os.chown(file, 0, group or 0)
            link = directory / key
            if not link.is_symlink():
                link.symlink_to(f"..data/{key}")
        switch = directory / "..data_tmp"
        switch.symlink_to(fresh.name)
        switch.rename(directory / "..data")
        return directory

    def _token(self):
        """The token of its service account, as pods get it."""
        account, namespace = self.spec["serviceAccountName"], self.node.namespace
        token = self.node.api.kubectl("create", "token", account, "--namespace", namespace, "--duration=1h").strip()
        authority = (self.node.api.directory / "certificates" / "apiserver.crt").read_bytes()
        data = {"token": token.encode(), "ca.crt": authority, "namespace": namespace.encode()}
        return self.project(self.directory / "volumes" / "service-account", data, {})

    # Its life.

    def start(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        self._connect_network()
        for file, text in {
            "resolv.conf": f"search {self.node.namespace}.svc svc\nnameserver {DNS}\noptions ndots:5\n",
            "hosts": f"127.0.0.1 localhost\n{self.address} {self.name}\n",
            "hostname": f"{self.name}\n",
        }.items():
            (self.directory / file).write_text(text)
        volumes = self._volumes()
        mounts = [
            {
                "source": str(volumes[mount["name"]]),
                "target": mount["mountPath"],
                "read_only": mount.get("readOnly", False),
            }
            for mount in self.container.get("volumeMounts", [])
        ]
        if self.node.api and self.spec.get("automountServiceAccountToken", True):
            target = "/var/run/secrets/kubernetes.io/serviceaccount"
            mounts.append({"source": str(self._token()), "target": target, "read_only": True})
        context = self.container["securityContext"]
        assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}, self.name
        launch = {
            "binaries": self.node.binaries,
            "files": {f"/etc/{name}": str(self.directory / name) for name in ("resolv.conf", "hosts", "hostname")} | self.node.files,
            "mounts": mounts,
            "user": self.security["runAsUser"],
            "group": self.security.get("runAsGroup", self.security["runAsUser"]),
            "groups": [self.security["fsGroup"]],
            "environment": self.environment(),
            "command": self.container["command"] + self.container.get("args", []),
            "host": self.name,
            "root": str(self.directory / "root"),
        }
        (self.directory / "root").mkdir(exist_ok=True)
        (self.directory / "launch.json").write_text(json.dumps(launch))
        self._spawn()

    def _connect_network(self):
        number = next(self.node.numbers)
        self.address = f"10.244.0.{number}"
        inside = f"pod{number}"
        run("ip", "netns", "add", inside)
        run("ip", "link", "add", f"veth{number}", "type", "veth", "peer", "name", "eth0", "netns", inside)
        run("ip", "link", "set", f"veth{number}", "master", "cni0", "up")
        run("ip", "-n", inside, "link", "set", "lo", "up")
        run("ip", "-n", inside, "address", "add", f"{self.address}/24", "dev", "eth0")
        run("ip", "-n", inside, "link", "set", "eth0", "up")
        run("ip", "-n", inside, "route", "add", "default", "via", GATEWAY)
        self.network = inside

    def _spawn(self):
        command = ["ip", "netns", "exec", self.network, "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        command += [sys.executable, "-I", str(LAUNCHER), str(self.directory / "launch.json")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def container_pid(self):
        """Process 1 of the container, as this machine numbers it."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def execute(self, *command, check=True, timeout=60):
        """Runs a command in the container, as `kubectl exec` does."""
        user = self.security["runAsUser"]
        enter = [NSENTER, f"--target={self.container_pid()}", "--net", "--pid", "--root", "--wdns=/"]
        return subprocess.run(
            [*enter, f"--setuid={user}", f"--setgid={user}", *command],
            env=self.environment(), check=check, capture_output=True, text=True, timeout=timeout,
        )

    # Probes.

    def probe(self, name):
        """Asks once; whether the answer is a success, and its text."""
        probe = self.container[name]["httpGet"]
        timeout = self.container[name].get("timeoutSeconds", 1)
        connection = http.client.HTTPConnection(self.address, self.port(probe["port"]), timeout=timeout)
        with contextlib.closing(connection):
            try:
                connection.request("GET", probe["path"])
                answer = connection.getresponse()
                return 200 <= answer.status < 400, f"{answer.status} {answer.read().decode(errors='replace')}"
            except OSError as error:
                return False, str(error)

    def wait_ready(self, limit=60):
        """Waits as a kubelet: the startup probe, then readiness and liveness."""
        deadline = time.monotonic() + limit
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            while name in self.container:
                passed, answer = self.probe(name)
                if passed:
                    break
                if not self.is_running():
                    raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log.read_text()}")
                if time.monotonic() > deadline:
                    raise AssertionError(f"{name} of {self.name}: {answer}\n{self.log.read_text()}")
                time.sleep(0.1)

    def wait(self, limit):
        """Waits for the end of a pod that ends by itself; its exit code."""
        return self.process.wait(timeout=limit)

    def terminate(self):
        """Ends the pod as a kubelet: preStop, SIGTERM, and SIGKILL when the grace is over. `(exit code, seconds since SIGTERM)`."""
        grace = self.spec["terminationGracePeriodSeconds"]
        begun = time.monotonic()
        pre_stop = self.container.get("lifecycle", {}).get("preStop", {})
        if pre_stop:
            time.sleep(pre_stop["sleep"]["seconds"])
            assert self.is_running(), "preStop must not end it"
        signalled = time.monotonic()
        os.kill(self.container_pid(), signal.SIGTERM)
        try:
            code = self.process.wait(timeout=grace - (signalled - begun))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} had to be killed after {grace} s:\n{self.log.read_text()}") from None
        return code, time.monotonic() - signalled

    def kill(self):
        if self.is_running():
            # What waits for the container ends when that has ended; there may be none yet.
            with contextlib.suppress(IndexError, OSError, subprocess.TimeoutExpired):
                os.kill(self.container_pid(), signal.SIGKILL)
                self.process.wait(10)
            self.process.kill()
            self.process.wait()

    def forget(self):
        """Removes what is of this run of the pod and no volume, before it is started again."""
        shutil.rmtree(self.directory / "root", ignore_errors=True)
        run("ip", "netns", "delete", self.network)
