"""A name server on loopback for the domains that tests send to."""

from __future__ import annotations

import dnslib
import dnslib.server

HOST = "127.0.0.1"
_PORT_ATTEMPTS = 20


class _Quiet(dnslib.server.DNSLogger):
    def __init__(self) -> None:
        super().__init__("-request,-reply,-truncated,-error,-recv,-send,-data", False)


class NameServer(dnslib.server.BaseResolver):
    """Answers from a table; NXDOMAIN for names it does not know."""

    def __init__(self) -> None:
        self._records: dict[str, list[dnslib.RR]] = {}
        self._failing: set[str] = set()
        self._servers = self._listen()
        self.port = self._servers[0].server.server_address[1]
        for server in self._servers:
            server.start_thread()

    def _listen(self) -> list[dnslib.server.DNSServer]:
        """UDP and TCP on one port: what is free for the one need not be for the other."""
        for attempt in range(_PORT_ATTEMPTS):
            udp = dnslib.server.DNSServer(self, address=HOST, port=0, logger=_Quiet())
            port = udp.server.server_address[1]
            try:
                return [udp, dnslib.server.DNSServer(self, address=HOST, port=port, tcp=True,
                                                     logger=_Quiet())]
            except OSError:
                udp.server.server_close()
                if attempt == _PORT_ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

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


