"""A name server on loopback for the domains that tests send to."""

from __future__ import annotations

import socket

import dnslib
import dnslib.server

HOST = "127.0.0.1"


class _Quiet(dnslib.server.DNSLogger):
    def __init__(self) -> None:
        super().__init__("-request,-reply,-truncated,-error,-recv,-send,-data", False)


class NameServer(dnslib.server.BaseResolver):
    """Answers from a table; NXDOMAIN for names it does not know."""

    def __init__(self) -> None:
        self._records: dict[str, list[dnslib.RR]] = {}
        self._failing: set[str] = set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((HOST, 0))
            self.port = probe.getsockname()[1]
        self._servers = [
            dnslib.server.DNSServer(self, address=HOST, port=self.port, tcp=tcp, logger=_Quiet())
            for tcp in (False, True)]
        for server in self._servers:
            server.start_thread()

    def stop(self) -> None:
        for server in self._servers:
            server.stop()
            server.server.server_close()

    @property
    def address(self) -> str:
        return f"{HOST}@{self.port}"

    def add(self, *zone_lines: str) -> None:
        """Records as in a zone file: "remote.test. 60 IN MX 10 mx.remote.test."."""
        for record in dnslib.RR.fromZone("\n".join(zone_lines)):
            self._records.setdefault(str(record.rname).lower(), []).append(record)

    def fail(self, name: str) -> None:
        """SERVFAIL for a name."""
        self._failing.add(name)

    def resolve(self, request: dnslib.DNSRecord, handler: object) -> dnslib.DNSRecord:
        reply = request.reply()
        name = str(request.q.qname).lower()
        if name in self._failing:
            reply.header.rcode = dnslib.RCODE.SERVFAIL
        elif name not in self._records:
            reply.header.rcode = dnslib.RCODE.NXDOMAIN
        else:
            for record in self._records[name]:
                if record.rtype == request.q.qtype:
                    reply.add_answer(record)
        return reply


