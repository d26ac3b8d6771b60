#!/usr/bin/env python3
"""Every query of every dashboard and alert against a real Prometheus that scrapes a service under load.

    tests/observability/prove.py target/debug/ekitei [--s3 http://KEY:SECRET@ADDRESS] [--operator ADDRESS]

Each must be understood and have an answer. What an alert compares is there while nothing is wrong, so that is asked for, beside the whole
expression. Without an S3 server there is no cache of objects, and its panel is left out. `--operator` is the address of a running operator;
without one, what its registry shows is served from operator.prom. Needs prometheus, promtool and openssl.
"""

import argparse
import collections
import contextlib
import http.server
import itertools
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import load
import queries
from prometheus import Prometheus, Refused, promtool
from service import Service, make_certificate, wait_until

HERE = pathlib.Path(__file__).resolve().parent
TESTS = queries.RULES.parent / "tests"
RUNBOOKS = queries.ROOT / "docs/runbooks"
# How long a query may have no answer yet: until all kinds of events happened, and were scraped twice.
PATIENCE = 180
# What only a bucket has.
OF_BUCKETS = ("panel storage-and-cost: Cache of objects",)


COUNTED = re.compile(r"^(\w+(?:_total|_bucket|_sum|_count)\b.*) (\S+)$", re.MULTILINE)


class Figures(http.server.ThreadingHTTPServer):
    """Serves a file of metrics. What is counted grows by as much as the file has, with each scrape."""

    def __init__(self, path):
        text, scrapes = path.read_text(), itertools.count(1)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                times = next(scrapes)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(COUNTED.sub(lambda found: f"{found[1]} {float(found[2]) * times}", text).encode())

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Proof:
    """Asks until everything was answered, and tells what was not."""

    def __init__(self, prometheus, without):
        self.prometheus = prometheus
        self.counts = collections.Counter()
        # What has no answer yet: what it is of, the query, and the labels that the answer must have.
        self.open = []
        for name, dashboard in queries.dashboards().items():
            values = queries.variables(dashboard, self._values)
            for title, query, shown in queries.panels(dashboard):
                self._add("panel", f"{name}: {title}", queries.fill(query, values), without, shown)
        for rule in prometheus.rules():
            if rule["type"] == "recording":
                self._add("record", rule["name"], rule["query"], without)
            else:
                self._answer(rule["name"], rule["query"])
                self._add("alert", rule["name"], queries.left_side(rule["query"]), without)

    def _add(self, kind, name, query, without, shown=()):
        where = f"{kind} {name}"
        if where in without:
            self.counts["left out"] += 1
            return
        self.counts[kind] += 1
        self.open.append((where, query, shown))

    def _values(self, selector, label):
        return self.prometheus.ask(f"label/{label}/values", **{"match[]": selector})

    def _answer(self, where, query):
        try:
            return self.prometheus.query(query)
        except Refused as error:
            raise AssertionError(f"{where}: {error}\n  {query}") from error

    def everything_is_answered(self):
        def is_answered(where, query, shown):
            return any(value != "NaN" and all(map(labels.get, shown)) for labels, value in self._answer(where, query))

        self.open = [one for one in self.open if not is_answered(*one)]
        return not self.open


def check_rules():
    """The rules are valid, and each alert fires in one of its tests and is silent in another."""
    tests = sorted(TESTS.glob("*.yaml"))
    for arguments in [("check", "rules", queries.RULES), *(("test", "rules", path) for path in tests)]:
        passed, output = promtool(*map(str, arguments))
        if not passed:
            raise AssertionError(f"promtool {arguments}:\n{output}")
    rules, tested = queries.RULES.read_text(), "".join(path.read_text() for path in tests)
    index = (RUNBOOKS / "README.md").read_text()
    alerts = sorted(set(re.findall(r"- alert: (\w+)", rules)))
    for alert in alerts:
        for what, outcome in (("fires", r"\n\s+- exp_labels"), ("is silent", r" \[\]")):
            if not re.search(rf"alertname: {alert}\n\s+exp_alerts:{outcome}", tested):
                raise AssertionError(f"no test in {TESTS} in which {alert} {what}")
        if f"docs/runbooks/{alert}.md\n" not in rules or not (RUNBOOKS / f"{alert}.md").is_file():
            raise AssertionError(f"{alert} has no runbook")
        if f"]({alert}.md)" not in index:
            raise AssertionError(f"{RUNBOOKS}/README.md does not list {alert}")
    strays = {path.stem for path in RUNBOOKS.glob("Ekitei*.md")} - set(alerts)
    if strays:
        raise AssertionError(f"runbooks without an alert: {strays}")
    return len(alerts)


def check_series_of_tests(prometheus):
    """The tests of alerts are about series that there are: by these names, with these labels."""
    known = {}
    for series in {found[1] for path in TESTS.glob("*.yaml") for found in re.finditer(r"series: '(.*)'", path.read_text())}:
        name, _, labels = series.rstrip("}").partition("{")
        if name not in known:
            known[name] = {label for one in prometheus.ask("series", **{"match[]": name}) for label in one}
        strange = set(re.findall(r"(\w+)=", labels)) - known[name]
        if strange:
            raise AssertionError(f"{series} is in a test; the service's has no {', '.join(strange)}")


def bucket(url):
    """The section `blobs` of the configuration, for the S3 server at `url`."""
    if url is None:
        return None
    url = urllib.parse.urlsplit(url)
    return {
        "kind": "s3", "endpoint": f"http://{url.hostname}:{url.port}", "bucket": "observed", "region": "us-east-1", "pathStyle": True,
        "credentials": {"accessKeyId": url.username, "secretAccessKey": url.password}, "timeouts": {"attempt": "20s", "total": "45s"},
    }


def prove(given, folder, stack):
    # The hosts elsewhere have the certificate of the service, which it does not verify there.
    make_certificate(folder)
    service = Service(given.ekitei.resolve(), folder, load.elsewhere(folder), bucket(given.s3))
    stack.callback(service.stop)
    service.populate()
    operator = given.operator or Figures(HERE / "operator.prom").address
    prometheus = Prometheus(folder, {"ekitei": f"127.0.0.1:{service.ports['http']}", "ekitei-operator": operator})
    stack.callback(prometheus.stop)
    clients = load.Load(service)
    stack.callback(clients.stop)
    wait_until("the first scrape", lambda: all(prometheus.targets_up().values()) and len(prometheus.targets_up()) == 2)
    proof = Proof(prometheus, () if given.s3 else OF_BUCKETS)
    try:
        wait_until("answers", lambda: service.alive() and proof.everything_is_answered(), PATIENCE)
    except TimeoutError as late:
        unanswered = "\n".join(f"{where} {shown or ''}\n    {query}" for where, query, shown in proof.open)
        raise AssertionError(f"no answer within {PATIENCE} s to\n{unanswered}") from late
    clients.check()
    check_series_of_tests(prometheus)
    sick = [rule["name"] for rule in prometheus.rules() if rule["health"] == "err"]
    if sick:
        raise AssertionError(f"rules that Prometheus cannot evaluate: {sick}")
    return proof.counts


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("ekitei", type=pathlib.Path)
    arguments.add_argument("--s3")
    arguments.add_argument("--operator")
    given = arguments.parse_args()
    began = time.monotonic()
    subprocess.run([sys.executable, queries.DASHBOARDS / "generate.py", "--check"], check=True)
    alerts = check_rules()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ekitei-observability-"))
        shutil.copy(queries.RULES, folder)
        counts = prove(given, pathlib.Path(folder), stack)
    answered = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    print(f"{alerts} alerts with tests and runbooks; answered: {answered}; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
