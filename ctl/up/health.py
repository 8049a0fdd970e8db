"""Asks a process whether it is ready."""

from __future__ import annotations

import http.client

from ctl.up import layout


def ready(port: int, timeout: float = 2.0) -> tuple[bool, str]:
    """Whether /readyz says yes, and what it says."""
    connection = http.client.HTTPConnection(layout.HOST, port, timeout=timeout)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        text = response.read(1000).decode("utf-8", "replace").strip()
        return response.status == 200, text
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer on its health port ({error})"
    finally:
        connection.close()
