"""A real API server with its etcd, as processes of this machine."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

import yaml

import chart


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Failed(Exception):
    """A command failed; the text is what it said."""


class ApiServer:
    """etcd and kube-apiserver, with one user who may do everything."""

    def __init__(self, address="127.0.0.1"):
        self.address = address
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ekitei-apiserver-"))
        self.processes = []
        store, peer, self.port = free_port(), free_port(), free_port()
        self.begin(
            "etcd", f"--data-dir={self.directory}/etcd", f"--listen-client-urls=http://127.0.0.1:{store}",
            f"--advertise-client-urls=http://127.0.0.1:{store}", f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync",
        )
        key = self.directory / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        (self.directory / "tokens.csv").write_text('secret,admin,1,"system:masters"\n')
        self.begin(
            "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{store}", f"--secure-port={self.port}",
            f"--bind-address={address}", f"--cert-dir={self.directory}/certificates", f"--token-auth-file={self.directory}/tokens.csv",
            "--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={key}", f"--service-account-key-file={key}",
            # Its controller manager is not here.
            "--disable-admission-plugins=ServiceAccount", "--watch-cache=false",
        )
        self.kubeconfig = self.directory / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://{address}:{self.port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": "secret"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }))
        self.wait()

    def begin(self, name, *arguments):
        with (self.directory / f"{name}.log").open("wb") as log:
            # Not left behind, whatever ends this program.
            command = ["setpriv", "--pdeathsig", "KILL", chart.tool(name), *arguments]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory))

    def wait(self):
        deadline = time.monotonic() + 120
        while True:
            try:
                if self.kubectl("get", "--raw", "/readyz") == "ok":
                    self.kubectl("get", "namespace", "default")
                    return
            except Failed as error:
                ended = [process.args[0] for process in self.processes if process.poll() is not None]
                if ended or time.monotonic() > deadline:
                    logs = "".join(path.read_text()[-3000:] for path in self.directory.glob("*.log"))
                    raise AssertionError(f"{ended} {error}\n{logs}") from None
                time.sleep(0.3)

    def run(self, name, *arguments, text=None):
        home = str(self.directory)
        environment = {"PATH": os.environ["PATH"], "HOME": home, "KUBECONFIG": str(self.kubeconfig)}
        done = subprocess.run(
            [chart.tool(name), *map(str, arguments)], env=environment, input=text, capture_output=True, text=True, timeout=120
        )
        if done.returncode != 0:
            raise Failed(done.stderr)
        return done.stdout

    def kubectl(self, *arguments, text=None):
        return self.run("kubectl", *arguments, text=text)

    def close(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
        shutil.rmtree(self.directory)
