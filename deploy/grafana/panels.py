"""Dashboards of Grafana as Python values: only what differs from one panel to the next is said.

A dashboard is a list of rows; a row is a title and panels; the grid, ids, colours and variables come from here. The JSON is that of the
dashboard model which Grafana 10 and later take (schema version 41), without anything that Grafana fills in by itself.
"""

SCHEMA = 41
GRID = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Every metric of the service can be told apart by these; a label that an installation does not have matches `.*`.
LABELS = ("namespace", "region", "pod")
WHERE = ",".join(f'{label}=~"${label}"' for label in LABELS)


def query(expression, legend="", instant=False):
    """A query; `$W` in it stands for the selection by the dashboard's variables."""
    return {"expr": expression.replace("$W", WHERE), "legendFormat": legend or "__auto", "instant": instant, "range": not instant}


def _panel(kind, title, description, queries, unit, width, height, options, custom=None, thresholds=None, **defaults):
    queries = [queries] if isinstance(queries, dict) else queries
    # The colour of all that is below the first threshold has no value.
    thresholds = thresholds or [("blue", None)]
    steps = [] if thresholds[0][1] is None else [{"color": "green", "value": None}]
    steps += [{"color": color, "value": value} for color, value in thresholds]
    return {
        "type": kind, "title": title, "description": description, "datasource": SOURCE,
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": custom or {}, "thresholds": {"mode": "absolute", "steps": steps}, **defaults},
            "overrides": [],
        },
        "options": options,
        "targets": [{"refId": chr(ord("A") + number), "datasource": SOURCE, **query} for number, query in enumerate(queries)],
        "gridPos": {"w": width, "h": height},
    }


def stat(title, description, expression, unit="short", thresholds=None, width=4, **defaults):
    """One number, now."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value", "graphMode": "area", "textMode": "auto", "justifyMode": "auto",
    }
    return _panel("stat", title, description, query(expression), unit, width, 4, options, thresholds=thresholds, **defaults)


def series(title, description, queries, unit="short", stack=False, width=8, **defaults):
    """Lines over time; `stack` piles them up, for parts of a whole."""
    custom = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stack else 8, "showPoints": "never", "spanNulls": False,
        "stacking": {"mode": "normal" if stack else "none", "group": "A"},
    }
    options = {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, description, queries, unit, width, 8, options, custom, min=defaults.pop("min", 0), **defaults)


def table(title, description, expression, width=12, unit="short"):
    """One line for each set of labels, now."""
    options = {"showHeader": True, "cellHeight": "sm"}
    panel = _panel("table", title, description, query(expression, instant=True), unit, width, 8, options)
    panel["targets"][0]["format"] = "table"
    panel["transformations"] = [{"id": "organize", "options": {"excludeByName": {"Time": True}}}]
    return panel


def quantiles(metric, where="$W", by="", *, of=(0.5, 0.95, 0.99)):
    """Quantiles of a histogram, each a query."""
    group = f"le, {by}" if by else "le"
    name = f"{{{{{by}}}}} " if by else ""
    return [
        query(f"histogram_quantile({q}, sum by ({group}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))", f"{name}p{q * 100:g}")
        for q in of
    ]


def rate(metric, by="", where="", legend=""):
    """A counter's events a second, by a label."""
    selection = "$W" + ("," + where if where else "")
    group = f" by ({by})" if by else ""
    legend = legend or " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",") if by)
    return query(f"sum{group} (rate({metric}{{{selection}}}[$__rate_interval]))", legend)


def _choice(name, label, metric, known):
    where = ",".join(f'{one}=~"${one}"' for one in known)
    definition = f"label_values({metric}{{{where}}}, {name})" if where else f"label_values({metric}, {name})"
    return {
        "type": "query", "name": name, "label": label, "datasource": SOURCE, "definition": definition,
        "query": {"query": definition, "refId": name}, "refresh": 2, "sort": 1, "regex": "",
        "includeAll": True, "allValue": ".*", "multi": True, "current": {"text": ["All"], "value": ["$__all"]},
    }


def number(name, label, value):
    """A number that the reader may change."""
    return {"type": "textbox", "name": name, "label": label, "query": value, "current": {"text": value, "value": value}}


def dashboard(uid, title, description, rows, metric="ekitei_build_info", labels=LABELS, extra=()):
    """A dashboard whose variables take their values from the labels of `metric`."""
    variables = [{"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "refresh": 1, "current": {}}]
    names = {"namespace": "Namespace", "region": "Region", "pod": "Pod"}
    variables += [_choice(label, names[label], metric, labels[:place]) for place, label in enumerate(labels)]
    return {
        "uid": f"ekitei-{uid}", "title": f"Ekitei / {title}", "description": description, "tags": ["ekitei"],
        "schemaVersion": SCHEMA, "version": 1, "editable": True, "graphTooltip": 1, "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"}, "refresh": "30s",
        "templating": {"list": variables + list(extra)},
        "links": [{
            "type": "dashboards", "title": "Ekitei", "tags": ["ekitei"], "asDropdown": True, "includeVars": True, "keepTime": True,
        }],
        "annotations": {"list": []},
        "panels": _lay_out(rows),
    }


def _lay_out(rows):
    """Puts panels beside each other, and rows below each other."""
    placed, top = [], 0
    for title, panels in rows:
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": GRID, "h": 1}})
        top, left, height = top + 1, 0, 0
        for panel in panels:
            size = panel["gridPos"]
            if left + size["w"] > GRID:
                top, left, height = top + height, 0, 0
            placed.append({**panel, "gridPos": {"x": left, "y": top, **size}})
            left, height = left + size["w"], max(height, size["h"])
        top += height
    return [{"id": number, **panel} for number, panel in enumerate(placed, 1)]
