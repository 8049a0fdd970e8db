#!/usr/bin/python3
"""Writes docs/CONFIGURATION.md from the configuration protos, which are its only source.

With --check it writes nothing and fails when the file is not what it would write.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_PROTOS = _ROOT / "proto" / "postern" / "config" / "v1"
_TARGET = _ROOT / "docs" / "CONFIGURATION.md"

# Each process's message, and who reads it.
_PROCESSES = (
    ("AuthSvc", "auth-svc"),
    ("StoreSvc", "store-svc"),
    ("RelaySvc", "relay-svc"),
    ("GatewaySmtp", "gateway-smtp"),
    ("GatewayPop3", "gateway-pop3"),
    ("Posternctl", "posternctl"),
)

_HEAD = """\
# Configuration

Generated from `proto/postern/config/v1` by `tools/config_reference.py`; change the protos, not this
page.

Each process reads one YAML file, given by `--config FILE`. An unknown key, a wrong type or a value
out of range stops it with exit code 2 and a line that names file, line, key and what was expected.
`--check-config FILE` only checks, opening the files that it names; `--print-config FILE` shows what is in effect, without secrets.
A duration is a number of seconds or `90s`, `5m`, `2h`, `1d`; a size is a number of octets or
`64KiB`, `50MiB`, `1GiB`. Every file that a configuration names may be swapped under the running
process.
"""


@dataclasses.dataclass
class _Field:
    label: str
    type: str
    name: str
    options: str
    comment: str

    def option(self, name: str) -> str | None:
        found = re.search(rf'\b{name}\s*[=:]\s*("[^"]*"|[^\s,}}\]]+)', self.options)
        return found.group(1) if found else None


@dataclasses.dataclass
class _Message:
    name: str
    comment: str
    fields: list[_Field] = dataclasses.field(default_factory=list)
    enums: dict[str, list[str]] = dataclasses.field(default_factory=dict)


_FIELD = re.compile(r"^(optional|repeated)\s+([\w.]+)\s+(\w+)\s*=\s*\d+\s*(\[.*\])?;$")
_ENUM_VALUE = re.compile(r"^(\w+)\s*=\s*\d+;$")


def _parse(text: str) -> list[_Message]:
    """The messages of one file, as these protos are written: no nested messages, // comments."""
    messages: list[_Message] = []
    message: _Message | None = None
    enum: list[str] | None = None
    comment: list[str] = []
    statement = ""
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("//"):
            comment.append(line[2:].strip())
            continue
        if not line:
            comment = []
            continue
        statement = f"{statement} {line}".strip()
        if not statement.endswith((";", "{", "}")):
            continue
        if statement.count("{") > statement.count("}") and not statement.endswith("{"):
            continue
        words = " ".join(comment)
        if found := re.match(r"^message (\w+) \{$", statement):
            message = _Message(found.group(1), words)
            messages.append(message)
        elif statement.startswith("message ") and statement.endswith("{}"):
            messages.append(_Message(statement.split()[1], words))
        elif message is not None and (found := re.match(r"^enum (\w+) \{$", statement)):
            enum = message.enums.setdefault(found.group(1), [])
        elif statement == "}":
            if enum is not None:
                enum = None
            else:
                message = None
        elif enum is not None and (found := _ENUM_VALUE.match(statement)):
            if not found.group(1).endswith("_UNSPECIFIED"):
                enum.append(found.group(1))
        elif message is not None:
            found = _FIELD.match(statement)
            if not found:
                raise ValueError(f"not understood: {statement}")
            message.fields.append(_Field(found.group(1), found.group(2), found.group(3),
                                         found.group(4) or "", words))
        statement = ""
        comment = []
    return messages


def _octets(number: int) -> str:
    for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number and number % size == 0:
            return f"{number // size}{name}"
    return str(number)


def _seconds(number: int) -> str:
    for name, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if number and number % size == 0:
            return f"{number // size}{name}"
    return f"{number}s"


def _value(field: _Field, text: str) -> str:
    unit = field.option("unit")
    if unit == "UNIT_OCTETS":
        return _octets(int(text))
    if unit == "UNIT_SECONDS":
        return _seconds(int(text))
    return text


def _anchor(name: str) -> str:
    return name.lower()


def _type(field: _Field, message: _Message, known: set[str]) -> str:
    if field.type in message.enums:
        shown = " or ".join(f"`{value}`" for value in message.enums[field.type])
    elif field.type in known:
        shown = f"[{field.type}](#{_anchor(field.type)})"
    elif field.option("unit") == "UNIT_OCTETS":
        shown = "size"
    elif field.option("unit") == "UNIT_SECONDS":
        shown = "duration"
    else:
        shown = {"string": "string", "bool": "boolean"}.get(field.type, "number")
    return f"list of {shown}" if field.label == "repeated" else shown


def _default(field: _Field, message: _Message, known: set[str]) -> str:
    if field.option("required") == "true":
        return "*required*"
    default = field.option("default")
    if default is not None:
        return f"`{_value(field, default)}`"
    if field.label == "repeated":
        return "none"
    if field.type in known and field.type not in message.enums:
        return ""
    return "empty"


def _range(field: _Field) -> str:
    low, high = field.option("min"), field.option("max")
    if low is None and high is None:
        return ""
    parts = [_value(field, bound) for bound in (low, high) if bound is not None]
    return f" {parts[0]} to {parts[1]}." if len(parts) == 2 else f" At least {parts[0]}."


def _section(message: _Message, title: str, known: set[str]) -> list[str]:
    lines = ["", f"## {title}", ""]
    if message.comment:
        lines += [message.comment, ""]
    lines += ["| key | type | default | what it does |", "| --- | --- | --- | --- |"]
    for field in message.fields:
        words = (field.comment + _range(field)).strip().replace("|", "\\|")
        lines.append(f"| `{field.name}` | {_type(field, message, known)} | "
                     f"{_default(field, message, known)} | {words} |")
    return lines


def render() -> str:
    messages: dict[str, _Message] = {}
    for file in sorted(_PROTOS.glob("*.proto")):
        if file.name != "options.proto":
            for message in _parse(file.read_text(encoding="utf-8")):
                messages[message.name] = message
    known = set(messages)
    lines = [_HEAD.rstrip()]
    for name, process in _PROCESSES:
        lines += _section(messages[name], process, known)
    rest = sorted(known - {name for name, _ in _PROCESSES})
    for name in rest:
        lines += _section(messages[name], name, known)
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    text = render()
    if arguments == ["--check"]:
        if _TARGET.read_text(encoding="utf-8") != text:
            print(f"{_TARGET} is not current: run tools/config_reference.py", file=sys.stderr)
            return 1
        return 0
    _TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
