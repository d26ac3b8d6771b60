"""deploy/local-cluster in a directory of its own, for programs that drive a cluster."""

import json
import os
import pathlib
import random
import subprocess
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
OFFSETS = {"smtp": 25, "submission": 87, "imap": 43, "imaps": 93, "http": 80, "submissions": 65, "pop3s": 95}
S3_PORT = 24333


def say(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


class Cluster:
    """Nothing runs before `cluster("up", ...)`; calling it runs deploy/local-cluster with these arguments, and gives what that printed."""

    def __init__(self, directory, configuration="", packing=""):
        self.directory = pathlib.Path(directory)
        self.base = 24000
        self.environment = dict(os.environ, CLUSTER_DIR=str(directory), FDB_PORT="24500", S3_PORT=str(S3_PORT),
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

    def run_json(self, *arguments):
        """What a verb of the command line prints about process 1."""
        printed = self("run", "--output", "json", *arguments)
        return json.loads(printed[printed.index("{"):])

    def copy_process(self, number, changes):
        """Makes the configuration of a process out of that of process 1 by replacing text; `cluster("start", number)` starts it."""
        text = (self.directory / "node1" / "ekitei.yaml").read_text()
        for before, after in changes.items():
            assert before in text, before
            text = text.replace(before, after)
        for offset in OFFSETS.values():
            text = text.replace(f":{self.base + 100 + offset}'", f":{self.base + 100 * number + offset}'")
        folder = self.directory / f"node{number}"
        folder.mkdir()
        (folder / "ekitei.yaml").write_text(text)
        return folder / "ekitei.yaml"

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
