"""Writes the YAML that the services read: mappings, lists, strings, numbers and booleans."""

from __future__ import annotations

import json
import re
from typing import Any

# What YAML reads as a string without quotes, whatever the reader's version; sizes and durations
# ("64KiB", "90s") are numbers to the services and must have none.
_PLAIN = re.compile(r"^[A-Za-z/][A-Za-z0-9_./@-]*$|^[0-9]+([KMG]iB|[smhd])$")
_NOT_STRINGS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no scalar")
    if _PLAIN.match(value) and value.lower() not in _NOT_STRINGS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _lines(value: Any, indent: str) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                if inner:
                    lines.append(f"{indent}{key}:")
                    lines += _lines(inner, indent + "  ")
                else:
                    lines.append(f"{indent}{key}: {'{}' if isinstance(inner, dict) else '[]'}")
            else:
                lines.append(f"{indent}{key}: {_scalar(inner)}")
        return lines
    for item in value:
        if isinstance(item, dict) and item:
            inner_lines = _lines(item, indent + "  ")
            lines.append(f"{indent}- {inner_lines[0].lstrip()}")
            lines += inner_lines[1:]
        else:
            lines.append(f"{indent}- {_scalar(item)}")
    return lines


def dump(mapping: dict[str, Any]) -> str:
    return "\n".join(_lines(mapping, "")) + "\n"
