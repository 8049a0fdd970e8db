"""Mail servers elsewhere, to send out to: Postfix's smtp-sink, and one that follows a script."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading

from tests.e2e.waiting import wait_until

HOST = "127.0.0.1"


def free_port(host: str = HOST) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class SmtpSink:
    """smtp-sink, which writes each message to a file."""

    def __init__(self, *options: str, port: int | None = None):
        program = shutil.which("smtp-sink", path=os.environ.get("PATH", "") + ":/usr/sbin")
        assert program, "smtp-sink is missing: it comes with Debian's postfix"
        self.port = port or free_port()
        self._directory = pathlib.Path(tempfile.mkdtemp(prefix="smtp-sink-"))
        # Started by root it becomes nobody, who has to write here.
        self._directory.chmod(0o777)
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self._process = subprocess.Popen(
            [program, *user, "-d", str(self._directory / "%M."), *options,
             f"inet:{HOST}:{self.port}", "100"],
            stdin=subprocess.DEVNULL)
        wait_until(self._listens, 10, "smtp-sink listens")

    def _listens(self) -> bool:
        assert self._process.poll() is None, "smtp-sink has ended"
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0

    def messages(self) -> list[bytes]:
        """What it has taken, LF line ends, its own X- header first."""
        return [file.read_bytes() for file in sorted(self._directory.iterdir())]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._directory)


class ScriptedMta:
    """A mail server whose answers a test decides.

    `replies` maps the beginning of a command ("RCPT TO:<full@") to its reply; "." is the one to the
    message. What has no entry gets the usual yes.
    """

    def __init__(self, replies: dict[str, str] | None = None, host: str = HOST,
                 port: int | None = None):
        self.replies = replies or {}
        # So many recipients in a transaction, and what one more is told.
        self.max_recipients: int | None = None
        self.too_many = "452 4.5.3 too many recipients"
        self.line_end = b"\r\n"
        self.commands: list[str] = []
        self.bodies: list[bytes] = []
        self.sessions = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer.sessions += 1
                outer.serve(self)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        self._server = Server((host, port or 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def reply_to(self, command: str) -> str:
        for prefix, reply in self.replies.items():
            if command.upper().startswith(prefix.upper()):
                return reply
        if command.upper().startswith("DATA"):
            return "354 go on"
        if command.upper().startswith("QUIT"):
            return "221 bye"
        return "250 yes"

    def serve(self, handler: socketserver.StreamRequestHandler) -> None:
        def say(reply: str) -> None:
            handler.wfile.write(reply.encode() + self.line_end)

        recipients = 0
        say(self.replies.get("greeting", "220 remote.test"))
        while line := handler.rfile.readline():
            command = line.decode("utf-8", "replace").rstrip("\r\n")
            self.commands.append(command)
            reply = self.reply_to(command)
            if command.upper().startswith("MAIL"):
                recipients = 0
            if command.upper().startswith("RCPT") and reply.startswith("250"):
                recipients += 1
                if self.max_recipients is not None and recipients > self.max_recipients:
                    reply = self.too_many
            say(reply)
            if reply.startswith("354"):
                body = b""
                while (text := handler.rfile.readline()) not in (b".\r\n", b""):
                    body += text[1:] if text.startswith(b".") else text
                if text:
                    self.bodies.append(body)
                    say(self.reply_to("."))
            if reply.startswith(("221", "421")):
                return

    def count(self, pattern: str) -> int:
        return sum(1 for command in self.commands if re.match(pattern, command, re.IGNORECASE))

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
