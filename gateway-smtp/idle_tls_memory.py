#!/usr/bin/env python3
"""What an idle TLS session costs a gateway: opens many, reads the process's resident memory.

    gateway-smtp/idle_tls_memory.py --port 4650 --pid PID [--sessions 1000] [--starttls] [--used]

For a running gateway whose listener takes that many connections (max_connections). Prints KiB a
session, from the second half of the sessions, so that what a process needs but once isn't counted.
"""
import argparse
import smtplib
import ssl


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise RuntimeError("no VmRSS")


def session(args, context):
    if args.starttls:
        client = smtplib.SMTP(args.host, args.port, local_hostname="idle.test")
        client.starttls(context=context)
    else:
        client = smtplib.SMTP_SSL(args.host, args.port, local_hostname="idle.test", context=context)
    client.ehlo()
    if args.used:
        # A message's worth of traffic, so that what it leaves behind is counted.
        client.sendmail("", [args.recipient], b"x" * 60 + b"\r\n" + (b"y" * 78 + b"\r\n") * 400)
    return client


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--starttls", action="store_true")
    parser.add_argument("--used", action="store_true", help="send a message in each first (mx)")
    parser.add_argument("--recipient", default="alice@example.test")
    args = parser.parse_args()

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    half = args.sessions // 2
    sessions = [session(args, context) for _ in range(half)]
    before = resident_kib(args.pid)
    sessions += [session(args, context) for _ in range(half)]
    after = resident_kib(args.pid)
    print(f"{(after - before) / half:.1f} KiB a session ({before} to {after} KiB, {half} sessions)")
    for client in sessions:
        client.close()


if __name__ == "__main__":
    main()
