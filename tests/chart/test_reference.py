"""The chart's page is what its values say."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def test_the_page_is_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/chart_reference.py"), "--check"], check=False)
    assert done.returncode == 0, "run tools/chart_reference.py"
