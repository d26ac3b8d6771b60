"""The queries of dashboards and of rules, as Grafana and Prometheus would make them."""

import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "deploy/grafana"
RULES = ROOT / "deploy/prometheus/alerts.yaml"
# Four scrapes of prometheus.INTERVAL, as Grafana has it.
RATE_INTERVAL = "4s"
_DEFINITION = re.compile(r"label_values\((?P<selector>.*), (?P<label>\w+)\)")
_SHOWN = re.compile(r"\{\{(\w+)\}\}")
_COMPARISON = re.compile(r"\s(==|!=|>=|<=|>|<)\s|\s(and|or|unless)\s")


def dashboards():
    """All of them, by their name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def fill(text, values):
    """A query or a definition with variables replaced."""
    values = {"__rate_interval": RATE_INTERVAL, **values}
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], text)


def variables(dashboard, values_of):
    """The variables with their values: of a list, all that `values_of(selector, label)` finds, as the reader of a dashboard can choose them."""
    values = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "textbox":
            values[variable["name"]] = variable["query"]
        elif variable["type"] == "query":
            definition = _DEFINITION.fullmatch(fill(variable["definition"], values))
            found = values_of(definition["selector"], definition["label"])
            if not found:
                raise AssertionError(f"{dashboard['title']}: the variable {variable['name']} has no values")
            # Twice: once for the regular expression, once for the string in the query.
            values[variable["name"]] = "|".join(re.escape(value).replace("\\", "\\\\") for value in found)
    return values


def panels(dashboard):
    """(title of the panel, its query, the labels that its legend shows) for all queries."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"], _SHOWN.findall(target["legendFormat"])


def left_side(expression):
    """What the expression of an alert compares first: `a` of `a > 1 and b`. That is there while nothing is wrong."""
    depth = 0
    for place, character in enumerate(expression):
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(character, 0)
        if depth == 0 and (found := _COMPARISON.match(expression, place)):
            return expression[:found.start()]
    return expression
