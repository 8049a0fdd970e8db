"""Calls every method of some gRPC services with a certificate, and prints what each says: {"method": "STATUS: words", ...}.

    call_all.py ADDRESS SERVER_IDENTITY FOLDER METHOD...     FOLDER has ca.crt, tls.crt and tls.key

Run by a test in the network namespace of a pod.
"""

from __future__ import annotations

import json
import pathlib
import sys

import grpc

_SECONDS = 5


def _call(channel: grpc.Channel, method: str) -> str:
    # An empty request is enough to be turned away; who is let in is told what is wrong with it.
    call = channel.stream_stream(method)(iter([b""]), timeout=_SECONDS)
    try:
        for _ in call:
            break
    except grpc.RpcError:
        pass
    said = f"{call.code().name}: {call.details()}" if call.done() else "OK: "
    call.cancel()
    return said


def main(arguments: list[str]) -> None:
    address, server, folder, *methods = arguments

    def read(name: str) -> bytes:
        return pathlib.Path(folder, name).read_bytes()

    credentials = grpc.ssl_channel_credentials(read("ca.crt"), read("tls.key"), read("tls.crt"))
    options = [("grpc.ssl_target_name_override", server)]
    with grpc.secure_channel(address, credentials, options) as channel:
        print(json.dumps({method: _call(channel, method) for method in methods}))


if __name__ == "__main__":
    main(sys.argv[1:])
