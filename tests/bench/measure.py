"""What the system under test costs: CPU, memory, flushes, RPCs. All read from /proc, /sys and /metrics."""
import os
import pathlib
import re
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2:].split()
    return int(fields[1]), sum(int(f) for f in fields[11:15])


def tree(roots):
    """Pids of these processes and all that descend from them."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent, _ = _stat(entry.name)
            except (OSError, ValueError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = set(), list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(children.get(pid, []))
    return found


def cpu_seconds(roots):
    """User and system time of the trees, that of children which ended and were waited for included."""
    total = 0
    for pid in tree(roots):
        try:
            total += _stat(pid)[1]
        except (OSError, ValueError):
            continue
    return total / TICKS


def _name(pid):
    """What the process is called; None when it is gone."""
    try:
        arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return os.path.basename(arguments[0].decode(errors="replace")).split(":")[0] or "?"


def cpu_by_name(roots):
    """{process name: CPU seconds of those that run}."""
    found = {}
    for pid in tree(roots):
        try:
            ticks = _stat(pid)[1]
        except (OSError, ValueError):
            continue
        name = _name(pid)
        if name is not None:
            found[name] = found.get(name, 0) + ticks / TICKS
    return found


def written_octets(roots):
    """What the processes that run had written to disks (proc(5), write_bytes)."""
    total = 0
    for pid in tree(roots):
        try:
            text = pathlib.Path(f"/proc/{pid}/io").read_text()
        except OSError:
            continue
        total += int(re.search(r"^write_bytes: (\d+)$", text, re.MULTILINE)[1])
    return total


def peak_memory(roots):
    """{process name: largest peak resident size in KiB}."""
    peaks = {}
    for pid in tree(roots):
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        match = re.search(r"VmHWM:\s+(\d+) kB", status)
        if not match:
            continue
        name = _name(pid) or "?"
        peaks[name] = max(peaks.get(name, 0), int(match.group(1)))
    return peaks


def flushes(folder):
    """Flush requests that the folder's disk has completed (Documentation/block/stat.rst); None where it is not told."""
    device = os.stat(folder).st_dev
    stat = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    try:
        return int(stat.read_text().split()[15])
    except (OSError, IndexError):
        return None


def metric_sum(urls, name):
    """The sum of a counter over all labels and processes."""
    total = 0.0
    for url in urls:
        with urllib.request.urlopen(url, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                match = re.match(rf"{re.escape(name)}(\{{[^}}]*\}})? (\S+)$", line)
                if match:
                    total += float(match.group(2))
    return total
