"""The chart, rendered: what the tests here have in common."""

import functools
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "ekitei"
CACHES = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
CACHE = pathlib.Path(os.environ.get("EKITEI_CACHE") or CACHES / "ekitei")
TOOLS = CACHE / "kubernetes" / "bin"


# Removes a directory when standard input ends. Those who write there end at the same time, and may need a moment.
REMOVE = """trap '' INT TERM HUP
cat >/dev/null
for _ in $(seq 100); do
    rm -rf -- "$1" 2>/dev/null && exit
    sleep 0.1
done"""


class Refused(Exception):
    """Helm did not render it; the text is what it said."""


def scratch():
    """Lets the temporary files of this program be in a directory that goes with it, however it ends."""
    directory = tempfile.mkdtemp(prefix="ekitei-chart-")
    # Its standard input is open as long as this program, and what that forks, is there.
    scratch.remover = subprocess.Popen(
        ["sh", "-c", REMOVE, "remove", directory],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )
    tempfile.tempdir = os.environ["TMPDIR"] = directory


def tool(name):
    """The path of a tool of `make kubernetes-tools`, or of the machine; None if there is none."""
    ours = TOOLS / name
    return str(ours) if ours.exists() else shutil.which(name)


def binary(name):
    """A binary of this workspace that was built; None if there is none."""
    given = os.environ.get(name.upper().replace("-", "_") + "_BINARY")
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for path in [given] if given else [target / "debug" / name, target / "release" / name]:
        if pathlib.Path(path).exists():
            return str(pathlib.Path(path).resolve())
    return None


def helm(*arguments):
    """Runs helm; its output. What it refuses is an error of its own."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "HELM_CACHE_HOME": "/nonexistent"}
    done = subprocess.run([tool("helm"), *arguments], capture_output=True, text=True, env=environment, timeout=60)
    if done.returncode != 0:
        raise Refused(done.stderr + done.stdout)
    return done.stdout


def render(*files, release="ekitei", namespace="mail", **values):
    """The objects of the chart with these files of values and `a__b="..."` over them, as lists of dictionaries."""
    arguments = ["template", release, str(CHART), "--namespace", namespace]
    for file in files:
        arguments += ["--values", str(file)]
    if values:
        arguments += ["--values", "/dev/stdin"]
    nested = {}
    for path, value in values.items():
        *parents, last = path.split("__")
        functools.reduce(lambda at, key: at.setdefault(key, {}), parents, nested)[last] = value
    done = subprocess.run(
        [tool("helm"), *arguments], input=yaml.safe_dump(nested), capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0:
        raise Refused(done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def find(objects, kind, name):
    """The one object of this kind and name."""
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pod_templates(objects):
    """`(name, pod template)` of everything that makes pods, and pods themselves."""
    for each in objects:
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield each["metadata"]["name"], each["spec"]["template"]
        elif each["kind"] == "Pod":
            yield each["metadata"]["name"], {"metadata": each["metadata"], "spec": each["spec"]}
        elif each["kind"] == "ConfigMap" and "pod.yaml" in each["data"]:
            yield each["metadata"]["name"], yaml.safe_load(each["data"]["pod.yaml"])
