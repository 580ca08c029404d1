#!/usr/bin/env python3
"""Checks the files of config/deploy for monitoring against each other and against the metrics of running servers.

Usage: monitoring_check.py POWER_METRICS RPS_METRICS RULES

POWER_METRICS and RPS_METRICS are files with the reply to /metrics of power-server and rps-server, which use TLS and
duel.cluster, so that all metrics exist. The check writes the queries of the dashboard to RULES as recording rules, for
`promtool check rules`. deploy-check.sh runs both. Uses only the standard library.

- Dashboard: panel ids are unique, no panels overlap, and each panel has a title, a description and, unless it is a row,
  queries and a unit.
- Queries of the dashboard and of alerts.yml: each metric, label and label value exists.
- Each alert has a section in RUNBOOK.md and names it, and each section has an alert.

Prints each problem on standard error and exits with 1, or prints a summary. Exit code 2: the arguments are invalid.
"""

import argparse
import json
import re
import sys
from pathlib import Path

DEPLOY = Path(__file__).resolve().parent.parent / "config/deploy"
ALERTS, DASHBOARD, RUNBOOK = "alerts.yml", "grafana-dashboard.json", "RUNBOOK.md"

# Metrics of HAProxy's exporter.
HAPROXY_METRICS = (
    "haproxy_backend_active_servers",
    "haproxy_backend_backup_servers",
    "haproxy_frontend_denied_connections_total",
)
# Labels that Prometheus adds to each series.
TARGET_LABELS = {"job", "instance"}
# What promtool reads instead of the variables of Grafana.
VARIABLES = {"$__rate_interval": "1m", "$job": "power-server", "$instance": "power-1:9500"}

JOBS = re.findall(r"^ *- job_name: (\S+)", (DEPLOY / "prometheus.yml").read_text(), re.M)

TOKEN = re.compile(
    r'(?P<string>"(?:\\.|[^"\\])*")|(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)|(?P<operator>=~|!~|!=|==|<=|>=)'
    r"|(?P<number>[0-9][0-9a-z.]*)|(?P<other>\S)"
)
GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}

problems = []


def report(where, problem):
    problems.append(f"{where}: {problem}")


def read_series(paths):
    """Returns the label sets of each metric, by name."""
    series = {}
    for line in "\n".join(Path(path).read_text() for path in paths).splitlines():
        match = re.match(r"([a-zA-Z_:]\w*)(?:\{(.*)\})? \S+$", line)
        if match and not line.startswith("#"):
            labels = dict(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', match[2] or ""))
            series.setdefault(match[1], []).append(labels)
    proxies = re.findall(r"^backend (\S+)", (DEPLOY / "haproxy.cfg").read_text(), re.M)
    for name in HAPROXY_METRICS:
        series[name] = [{"proxy": proxy} for proxy in proxies]
    series["up"] = [{}]
    series["ALERTS"] = [{"alertname": name, "alertstate": "firing", "severity": "warning"} for name in read_alerts()]
    return series


def read_alerts():
    """Returns the expression and the annotation `runbook` of each alert, by name. Knows only the YAML of this file."""
    alerts, name, expression_indent = {}, None, None
    for line in (DEPLOY / ALERTS).read_text().splitlines():
        indent = len(line) - len(line.lstrip())
        if expression_indent is not None and indent > expression_indent:
            alerts[name]["expr"] += f" {line.strip()}"
            continue
        expression_indent = None
        match = re.match(r"\s*(?:- )?(alert|expr|runbook): (.*)$", line)
        if not match:
            continue
        key, value = match.groups()
        if value[0] in "\"'" and value[-1] == value[0]:
            value = value[1:-1]
        if key == "alert":
            name = value
            alerts[name] = {"expr": "", "runbook": ""}
        elif value == ">-":
            expression_indent = indent
        else:
            alerts[name][key] = value
    return alerts


# --- Queries


def alternatives(pattern):
    """Expands the groups and the alternatives of a regular expression: "(a|b)_c" to ["a_c", "b_c"]."""
    group = re.search(r"\(([^()]*)\)", pattern)
    if group:
        texts = [pattern[: group.start()] + option + pattern[group.end() :] for option in group[1].split("|")]
        return [expanded for text in texts for expanded in alternatives(text)]
    return pattern.split("|")


def matches(label, operator, value):
    """Returns whether a label with this value is selected."""
    is_equal = re.fullmatch(value, label) is not None if "~" in operator else label == value
    return is_equal != operator.startswith("!")


class Query:
    """Checks the names in one PromQL expression. promtool checks its syntax."""

    def __init__(self, where, text, series):
        self.where = where
        self.series = series
        self.tokens = [(match.lastgroup, match[0]) for match in TOKEN.finditer(text)]
        self.position = 0
        self.labels = set(TARGET_LABELS)
        self.grouped = []

    def peek(self):
        return self.tokens[self.position][1] if self.position < len(self.tokens) else ""

    def next(self):
        token = self.tokens[self.position] if self.position < len(self.tokens) else ("end", "")
        self.position += 1
        return token

    def check(self):
        """Checks all names. Collects the labels of the metrics in `labels`."""
        selectors = 0
        while self.peek():
            kind, text = self.next()
            if text in GROUPINGS:
                self.read_grouping()
            elif text == "[":
                while self.next()[1] not in ("]", ""):
                    pass
            elif kind == "name" and (self.peek() in ("(", "by", "without") or text in OPERATORS):
                pass
            elif kind == "name" or text == "{":
                self.check_selector(None if text == "{" else text, self.read_matchers(text))
                selectors += 1
        for label in self.grouped:
            if label not in self.labels:
                report(self.where, f"no metric of the query has the label {label}")
        if selectors == 0:
            report(self.where, "the query names no metric")

    def read_grouping(self):
        if self.peek() != "(":
            return
        self.next()
        while self.peek() not in (")", ""):
            kind, text = self.next()
            if kind == "name":
                self.grouped.append(text)
        self.next()

    def read_matchers(self, first):
        """Reads up to the closing brace."""
        found = []
        if first != "{":
            if self.peek() != "{":
                return found
            self.next()
        while self.peek() not in ("}", ""):
            label, operator, value = self.next()[1], self.next()[1], self.next()[1]
            found.append((label, operator, value[1:-1].replace("\\\\", "\\")))
            if self.peek() == ",":
                self.next()
        self.next()
        return found

    def check_selector(self, name, matchers):
        names = [name] if name else []
        for label, operator, value in matchers:
            if label == "__name__":
                names += alternatives(value) if operator == "=~" else [value]
        for metric in names:
            if metric not in self.series:
                report(self.where, f"no server has the metric {metric}")
        found = [labels for metric in names for labels in self.series.get(metric, [])]
        self.labels.update(*found)
        own = [matcher for matcher in matchers if matcher[0] not in TARGET_LABELS | {"__name__"}]
        before = len(problems)
        for label, operator, value in own:
            known = {labels[label] for labels in found if label in labels}
            for option in alternatives(value) if "~" in operator else [value]:
                # Also for != and !~, where an unknown value has no effect.
                if not any(matches(label_value, operator.replace("!", "="), option) for label_value in known):
                    report(self.where, f'{names} has no series with {label}="{option}"')
        is_selected = any(all(matches(labels.get(label, ""), *rest) for label, *rest in own) for labels in found)
        if found and not is_selected and len(problems) == before:
            report(self.where, f"no series of {names} has all of these labels: {own}")
        for label, _, value in matchers:
            if label == "job" and "$" not in value:
                for job in alternatives(value):
                    if job not in JOBS:
                        report(self.where, f"prometheus.yml has no job {job}")


# --- Dashboard


def check_panel(panel, series):
    """Checks one panel. Returns its queries."""
    where = f"{DASHBOARD}: panel {panel.get('id')}"
    if not panel.get("title"):
        report(where, "no title")
    if panel.get("type") == "row":
        return []
    if not panel.get("description", "").endswith("."):
        report(where, "no description, or not a sentence")
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not defaults.get("unit"):
        report(where, "no unit")
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        report(where, "the data source is not the variable")
    queries = []
    for target in panel.get("targets", []):
        query = Query(where, target["expr"], series)
        query.check()
        for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
            if label not in query.labels:
                report(where, f"the legend has the label {label}, which no metric of the query has")
        queries.append(target["expr"])
    if not queries:
        report(where, "no query")
    return queries


def check_places(panels):
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] + place["w"] > 24:
            report(DASHBOARD, f"panel {panel['id']} is wider than the dashboard")
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])):
            if cell in taken:
                report(DASHBOARD, f"the panels {taken[cell]} and {panel['id']} overlap")
                break
            taken[cell] = panel["id"]


def check_dashboard(series):
    """Checks the dashboard. Returns its queries."""
    try:
        dashboard = json.loads((DEPLOY / DASHBOARD).read_text())
    except json.JSONDecodeError as error:
        report(DASHBOARD, str(error))
        return []
    # A collapsed row contains its panels. Their places can be those of panels after the row.
    groups = [dashboard["panels"], *(panel.get("panels", []) for panel in dashboard["panels"])]
    panels = [panel for group in groups for panel in group]
    ids = [panel.get("id") for panel in panels]
    for panel_id in {panel_id for panel_id in ids if ids.count(panel_id) > 1}:
        report(DASHBOARD, f"two panels have the id {panel_id}")
    for group in groups:
        check_places(group)
    queries = [query for panel in panels for query in check_panel(panel, series)]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    if set(variables) != {"datasource", "job", "instance"}:
        report(DASHBOARD, f"other variables than datasource, job and instance: {sorted(variables)}")
    for name, variable in variables.items():
        if variable["type"] == "query":
            selector = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            if not selector or selector[2] not in TARGET_LABELS:
                report(DASHBOARD, f"variable {name}: not label_values of a label")
                continue
            Query(f"{DASHBOARD}: variable {name}", selector[1], series).check()
            queries.append(selector[1])
    return queries


def write_rules(queries, path):
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for number, query in enumerate(queries):
        for name, value in VARIABLES.items():
            query = query.replace(name, value)
        if "$" in query:
            report(DASHBOARD, f"unknown variable in {query}")
        # A string of JSON is one of YAML.
        lines += [f"      - record: query:{number}", f"        expr: {json.dumps(query)}"]
    Path(path).write_text("\n".join(lines) + "\n")


# --- Alerts and runbook


def check_alerts(series):
    """Checks the alerts and their sections. Returns the number of alerts."""
    alerts = read_alerts()
    for name, alert in alerts.items():
        where = f"{ALERTS}: {name}"
        Query(where, alert["expr"], series).check()
        expected = f"config/deploy/{RUNBOOK}#{name.lower()}"
        if alert["runbook"] != expected:
            report(where, f"the annotation runbook is {alert['runbook']!r}, not {expected!r}")
    sections = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", (DEPLOY / RUNBOOK).read_text(), re.M))
    for name in alerts.keys() - sections.keys():
        report(RUNBOOK, f"no section for the alert {name}")
    for name in sections.keys() - alerts.keys():
        report(RUNBOOK, f"no alert has the name of the section {name}")
    for name, text in sections.items():
        if len(text.split()) < 30:
            report(RUNBOOK, f"the section {name} is empty or too short")
    return len(alerts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("power_metrics", metavar="POWER_METRICS", help="the reply to /metrics of power-server")
    parser.add_argument("rps_metrics", metavar="RPS_METRICS", help="the reply to /metrics of rps-server")
    parser.add_argument("rules", metavar="RULES", help="file to write the queries of the dashboard to")
    arguments = parser.parse_args()
    series = read_series([arguments.power_metrics, arguments.rps_metrics])
    queries = check_dashboard(series)
    alerts = check_alerts(series)
    write_rules(queries, arguments.rules)
    for problem in problems:
        print(f"monitoring check: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(queries)} queries of the dashboard and {alerts} alerts use existing metrics")


main()
