"""Debian's Prometheus on loopback, and what it says."""

import json
import pathlib
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from service import TOKEN, Program, free_ports, wait_until

INTERVAL = "1s"
# As the chart's ServiceMonitor would set them.
LABELS = {"namespace": "mail", "pod": "ekitei-0"}


class Refused(Exception):
    """A query that Prometheus does not take."""


class Prometheus(Program):
    """Scrapes `targets`: the address of each by the name of its job."""

    def __init__(self, folder, targets):
        folder = pathlib.Path(folder)
        jobs = [
            {"job_name": job, "authorization": {"credentials": TOKEN}, "static_configs": [{"targets": [address], "labels": LABELS}]}
            for job, address in targets.items()
        ]
        configuration = {"global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL}, "scrape_configs": jobs}
        configuration["rule_files"] = [str(folder / "alerts.yaml")]
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        (self_port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{self_port}"
        super().__init__("prometheus", folder, [
            "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", f"--web.listen-address=127.0.0.1:{self_port}",
        ])
        wait_until("Prometheus", lambda: self.alive() and self._ready())

    def _ready(self):
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def ask(self, path, **parameters):
        """`data` of an answer of the HTTP API."""
        try:
            with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)["error"]) from error

    def query(self, expression):
        """The samples of an instant query: (labels, value)."""
        answer = self.ask("query", query=expression)
        if answer["resultType"] == "scalar":
            return [({}, answer["result"][1])]
        return [(sample["metric"], sample["value"][1]) for sample in answer["result"]]

    def rules(self):
        """All rules as they were evaluated last."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def targets_up(self):
        return {labels["job"]: value == "1" for labels, value in self.query("up")}


def promtool(*arguments, cwd=None):
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr
