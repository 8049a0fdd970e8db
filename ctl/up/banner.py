"""What `up` prints when all is ready: ports, passwords, and three commands to copy."""

from __future__ import annotations

import shlex
from typing import Any


def _message(sender: str, recipient: str, subject: str) -> str:
    return (f"printf 'From: {sender}\\r\\nTo: {recipient}\\r\\nSubject: {subject}\\r\\n"
            f"\\r\\nHello from Postern.\\r\\n'")


def commands(status: dict[str, Any]) -> dict[str, str]:
    """Shell commands by what they do; they work as they stand."""
    listeners, accounts = status["listeners"], status["accounts"]
    ca = shlex.quote(status["ca_file"])
    alice, bob = accounts["alice"], accounts["bob"]

    def url(scheme: str, listener: str) -> str:
        return f"{scheme}://{listeners[listener]['host']}:{listeners[listener]['port']}"

    def login(account: dict[str, str]) -> str:
        return f"--user \"{account['address']}:$(cat {shlex.quote(account['password_file'])})\""

    stranger = "carol@elsewhere.test"
    return {
        "send in": (
            f"{_message(stranger, alice['address'], 'In')} | curl -sS --ssl-reqd --cacert {ca} "
            f"--mail-from {stranger} --mail-rcpt {alice['address']} --upload-file - "
            f"{url('smtp', 'mx')}"),
        "fetch": f"curl -sS --cacert {ca} {login(alice)} {url('pop3s', 'pop3s')}/1",
        "send out": (
            f"{_message(alice['address'], bob['address'], 'Out')} | curl -sS --cacert {ca} "
            f"{login(alice)} --mail-from {alice['address']} --mail-rcpt {bob['address']} "
            f"--upload-file - {url('smtps', 'submissions')}"),
    }


def text(status: dict[str, Any], detached: bool) -> str:
    lines = ["", "Postern is ready.", ""]
    for name, listener in status["listeners"].items():
        tls = {"none": "", "starttls": "STARTTLS", "implicit": "TLS"}[listener["tls"]]
        if tls == "STARTTLS" and name == "pop3":
            tls = "STLS"
        lines.append(f"  {name:<12} {listener['host']}:{listener['port']:<6} {tls}")
    lines.append("")
    for account in status["accounts"].values():
        with open(account["password_file"], encoding="utf-8") as file:
            lines.append(f"  {account['address']:<20} password {file.read().strip()}")
    about = {
        "send in": "Send a message in, as another mail server does:",
        "fetch": "Fetch alice's first message:",
        "send out": "Send one out as alice (any address will do; bob is at home here):",
    }
    for name, command in commands(status).items():
        lines += ["", f"  {about[name]}", f"  {command}"]
    lines += ["", "  ./dev status shows the processes, ./dev logs what they write; "
              + ("./dev down stops them." if detached else "Ctrl-C stops them.")]
    return "\n".join(lines) + "\n"
