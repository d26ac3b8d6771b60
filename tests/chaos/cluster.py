"""deploy/local-cluster in a directory of its own, for programs that drive a cluster."""

import os
import pathlib
import random
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
OFFSETS = {"smtp": 25, "submission": 87, "imap": 43, "http": 80}


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


class Cluster:
    """Nothing runs before `cluster("up", ...)`; calling it runs deploy/local-cluster with these arguments, and gives what that printed."""

    def __init__(self, directory, configuration="", packing=""):
        self.directory = pathlib.Path(directory)
        self.base = 24000
        self.environment = dict(os.environ, CLUSTER_DIR=str(directory), FDB_PORT="24500", S3_PORT="24333",
                                BASE_PORT=str(self.base), PACKING=packing, EXTRA_CONFIG=str(self.directory / "extra.yaml"))
        (self.directory / "extra.yaml").write_text(configuration)
        # Those that clients go to; a paused or dead one is found out by them, as in life.
        self.processes = 1
        self.random = random.Random()

    def __call__(self, *arguments):
        done = subprocess.run([ROOT / "deploy/local-cluster", *arguments], env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise RuntimeError(f"local-cluster {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    def port(self, protocol, process=None):
        """Of this process, or of any."""
        return self.base + 100 * (process or self.random.randint(1, self.processes)) + OFFSETS[protocol]

    def pid(self, name):
        """Of `fdb`, `s3` or `node1`."""
        return int((self.directory / name / "pid").read_text())

    def metric(self, process, name):
        """The sum of a metric of one process over its labels."""
        address = f"http://127.0.0.1:{self.port('http', process)}/metrics"
        token = (self.directory / "token").read_text().strip()
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))
