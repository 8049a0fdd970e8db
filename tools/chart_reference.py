#!/usr/bin/python3
"""Writes k8s/chart/README.md from values.yaml, whose comments document each value.

With --check it only says whether the page is current (exit code 1 when not).
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

import yaml

_CHART = pathlib.Path(__file__).resolve().parent.parent / "k8s/chart"
_HEAD = """\
# The chart

Generated from `values.yaml` by `tools/chart_reference.py`; change that file, not this page.
[docs/operate/install.md](../../docs/operate/install.md) says how to install it. A value that is not listed here is refused.

"""


def _comments(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each key's path and the comment above it."""
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        comment = re.match(r"\s*# ?(?:-- )?(.*)", line)
        key = re.match(r"( *)(?:- )?([A-Za-z]+):", line)
        if comment is not None:
            said.append(comment[1])
            continue
        if key is not None and not line.lstrip().startswith("- "):
            depth = len(key[1])
            while path and path[-1][0] >= depth:
                path.pop()
            path.append((depth, key[2]))
            yield tuple(name for _, name in path), " ".join(said)
        said = []


def _default(value: Any) -> str:
    return f"`{json.dumps(value)}`"


def _rows(values: dict[str, Any], comments: dict[tuple[str, ...], str], path: tuple[str, ...] = ()) -> Iterator[str]:
    for key, value in values.items():
        here = (*path, key)
        about = comments.get(here, "")
        # A mapping whose parts are told one by one, or that says something itself.
        parts = isinstance(value, dict) and value and any(
            known[:len(here)] == here and len(known) > len(here) for known in comments)
        if parts:
            if about:
                yield f"| `{'.'.join(here)}` | | {about} |"
            yield from _rows(value, comments, here)
        else:
            yield f"| `{'.'.join(here)}` | {_default(value)} | {about} |"


def page() -> str:
    text = (_CHART / "values.yaml").read_text(encoding="utf-8")
    values, comments = yaml.safe_load(text), dict(_comments(text))
    rows = list(_rows(values, comments))
    return _HEAD + "| value | default | what it does |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n"


def main(arguments: list[str]) -> int:
    readme = _CHART / "README.md"
    if arguments == ["--check"]:
        return 0 if readme.exists() and readme.read_text(encoding="utf-8") == page() else 1
    readme.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
