#!/usr/bin/python3
"""Draws the dashboard's panels of what a Prometheus has: for docs/operate/dashboard.png, where there is no Grafana.

    picture.py http://PROMETHEUS:9090 NAMESPACE MINUTES FILE.png

Wants python3-matplotlib.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as pyplot  # noqa: E402  (after the backend)

_DASHBOARD = pathlib.Path(__file__).resolve().parent.parent / "chart/files/dashboard.json"
_STEPS = 120
_UNITS = {"cps": "/s", "s": "s", "bytes": "MB", "short": "", "bool_yes_no": ""}


def _query(url: str, expression: str, minutes: float) -> list[Any]:
    now = time.time()
    parameters = urllib.parse.urlencode({"query": expression, "start": now - 60 * minutes, "end": now,
                                         "step": 60 * minutes / _STEPS})
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{parameters}", timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def _legend(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), text).strip()


def _draw(axes: Any, panel: dict[str, Any], url: str, namespace: str, minutes: float) -> None:
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for target in panel["targets"]:
        expression = target["expr"].replace("$namespace", namespace).replace("$__rate_interval", "30s")
        for series in _query(url, expression, minutes):
            points = [(float(at), float(value)) for at, value in series["values"]]
            scale = 1e-6 if unit == "bytes" else 1.0
            axes.plot([(at - time.time()) / 60 for at, _ in points], [value * scale for _, value in points],
                      linewidth=1.2, label=_legend(target["legendFormat"], series["metric"])[:44])
    axes.set_title(panel["title"], fontsize=9, loc="left")
    axes.set_ylim(bottom=0)
    axes.set_xlim(-minutes, 0)
    axes.tick_params(labelsize=7)
    axes.set_ylabel(_UNITS[unit], fontsize=7)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize=6, loc="upper left", framealpha=0.6, ncols=2)


def main(arguments: list[str]) -> int:
    url, namespace, minutes, file = arguments[0], arguments[1], float(arguments[2]), arguments[3]
    panels = json.loads(_DASHBOARD.read_text(encoding="utf-8"))["panels"]
    rows: list[tuple[str, list[Any]]] = []
    for panel in panels:
        if panel["type"] == "row":
            rows.append((panel["title"], []))
        else:
            rows[-1][1].append(panel)
    figure = pyplot.figure(figsize=(18, 3.2 * len(rows)), layout="constrained")
    for part, (title, drawn) in zip(figure.subfigures(len(rows), 1), rows):
        part.suptitle(title, fontsize=11, fontweight="bold", x=0.005, ha="left")
        for axes, panel in zip(part.subplots(1, len(drawn)), drawn):
            _draw(axes, panel, url, namespace, minutes)
    figure.savefig(file, dpi=70)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
