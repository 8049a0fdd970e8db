#!/usr/bin/python3
"""Runs every test, Bazel's and pytest's, and ends with `N passed, N failed, N skipped`.

Arguments choose: Bazel labels (//...) and pytest paths or options; without any, everything runs.
--sanitizer=asan or --sanitizer=tsan, as the first argument, builds and runs all that with it.
"""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.parse
import xml.etree.ElementTree

_PROGRAMS = ("//auth-svc:auth-svc", "//ctl:posternctl", "//gateway-pop3:gateway-pop3",
             "//gateway-smtp:gateway-smtp", "//relay-svc:relay-svc", "//store-svc:store-svc")


@dataclasses.dataclass
class _Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other: "_Counts") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def _count_cases(xml_file: pathlib.Path) -> _Counts:
    """The test cases of a JUnit-like file, GoogleTest's or pytest's."""
    counts = _Counts()
    for case in xml.etree.ElementTree.parse(xml_file).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            counts.skipped += 1
        else:
            counts.passed += 1
    return counts


def _count_target(status: str, outputs: list[dict[str, str]]) -> _Counts:
    """One run of one Bazel test."""
    counts = _Counts()
    for output in outputs:
        if output.get("name") == "test.xml":
            path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
            try:
                counts = _count_cases(pathlib.Path(path))
            except (OSError, xml.etree.ElementTree.ParseError):
                pass
    # A crash or a timeout leaves no trace in the file.
    if status not in ("PASSED", "FLAKY") and counts.failed == 0:
        counts.failed = 1
    elif counts == _Counts():
        counts.passed = 1
    return counts


def _run_bazel(options: list[str], labels: list[str],
               scratch: pathlib.Path) -> tuple[_Counts, int]:
    events = scratch / "events.json"
    code = subprocess.run(["bazel", "test", "--keep_going", f"--build_event_json_file={events}",
                           *options, "--", *labels], check=False).returncode
    counts = _Counts()
    if not events.exists():
        return counts, code
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        if "testResult" in event:
            result = event["testResult"]
            counts.add(_count_target(result.get("status", ""), result.get("testActionOutput", [])))
        elif event.get("testSummary", {}).get("overallStatus") == "NO_STATUS":
            counts.failed += 1
        elif "targetCompleted" in event.get("id", {}) and not event.get("completed", {}).get(
                "success", False):
            print(f"did not build: {event['id']['targetCompleted']['label']}")
            counts.failed += 1
    return counts, code


def _run_pytest(programs: str, arguments: list[str],
                scratch: pathlib.Path) -> tuple[_Counts, int]:
    report = scratch / "pytest.xml"
    code = subprocess.run([sys.executable, "-m", "pytest", f"--junit-xml={report}",
                           "-o", "junit_logging=no"] + arguments,
                          env=os.environ | {
                              "POSTERN_PROGRAMS": programs,
                              # A process that ends while gRPC's threads hold connections leaves them.
                              # The unit tests look for leaks.
                              "ASAN_OPTIONS": "detect_leaks=0",
                          }, check=False).returncode
    return (_count_cases(report) if report.exists() else _Counts()), code


def main(arguments: list[str]) -> int:
    sanitizer = ""
    if arguments and arguments[0].startswith("--sanitizer="):
        sanitizer = arguments[0].removeprefix("--sanitizer=")
        arguments = arguments[1:]
    options = [f"--config={sanitizer}", "--build_tests_only"] if sanitizer else []
    # .bazelrc gives each configuration its own.
    programs = f"bazel-{sanitizer}-bin" if sanitizer else "bazel-bin"
    labels = [a for a in arguments if a.startswith(("//", "-//"))]
    rest = [a for a in arguments if a not in labels]
    counts = _Counts()
    codes = []
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        if labels or not arguments:
            got, code = _run_bazel(options, labels or ["//..."], scratch)
            counts.add(got)
            codes.append(code)
        if rest or not arguments:
            code = subprocess.run(["bazel", "build", *options[:1], *_PROGRAMS],
                                  check=False).returncode
            codes.append(code)
            if code == 0:
                got, code = _run_pytest(programs, rest or ["tests/e2e", "tests/chart", "tests/monitoring"], scratch)
                counts.add(got)
                codes.append(code)
    # Neither ran all: something failed that no test case says.
    if any(codes) and counts.failed == 0:
        counts.failed = 1
    print(f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped", flush=True)
    return 1 if counts.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
