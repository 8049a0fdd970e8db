"""Files that only their owner may read, and that are whole or absent."""

from __future__ import annotations

import os
import pathlib
import secrets


def write_private(path: pathlib.Path, text: str) -> None:
    """Replaces `path` by `text`, mode 0600 from the first moment on, in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def secret(path: pathlib.Path) -> str:
    """The secret that `path` has; made when it is absent."""
    if not path.exists():
        write_private(path, secrets.token_hex(24) + "\n")
    return path.read_text(encoding="utf-8").strip()
