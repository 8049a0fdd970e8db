"""What Postern's processes hold: for an idle TLS session, while a large message passes, and over many messages."""
import poplib
import re
import smtplib
import ssl
import subprocess

LARGE_OCTETS = 40 << 20


def _kib(pid, field):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(rf"{field}:\s+(\d+) kB", status.read())[1])


def idle_session_kib(load, port, pid, sessions):
    """Resident KiB of one of the second half of the sessions: what a process needs but once isn't counted."""
    holders, readings = [], []
    try:
        for _ in range(2):
            holder = subprocess.Popen([load, "idle", "--port", str(port), "--connections", str(sessions // 2), "--tls"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            holders.append(holder)
            if holder.stdout.readline().strip() != "ready":
                raise SystemExit(f"port {port} did not take {sessions} connections")
            readings.append(_kib(pid, "VmRSS"))
    finally:
        for holder in holders:
            holder.communicate()
    return (readings[1] - readings[0]) / (sessions // 2)


def large_message_peaks(status):
    """{gateway: KiB by which its peak grew while 40 MiB passed}, after a small message has warmed each way."""
    listeners = status["listeners"]
    account = status["accounts"]["alice"]
    with open(account["password_file"], encoding="utf-8") as file:
        login = account["address"], file.read().strip()
    context = ssl._create_unverified_context()
    large = f"From: {login[0]}\r\nSubject: large\r\n\r\n" + ("x" * 70 + "\r\n") * (LARGE_OCTETS // 72)
    small = f"From: {login[0]}\r\nSubject: small\r\n\r\nsmall\r\n"

    def receive(message):
        with smtplib.SMTP("127.0.0.1", listeners["mx"]["port"], timeout=300) as client:
            client.starttls(context=context)
            client.sendmail("load@sender.test", [login[0]], message)

    def submit(message):
        with smtplib.SMTP_SSL("127.0.0.1", listeners["submissions"]["port"], context=context, timeout=300) as client:
            client.login(*login)
            client.sendmail(login[0], [login[0]], message)

    def fetch(_):
        client = poplib.POP3_SSL("127.0.0.1", listeners["pop3s"]["port"], context=context, timeout=300)
        client.user(login[0])
        client.pass_(login[1])
        for number in range(1, client.stat()[0] + 1):
            client.retr(number)
            client.dele(number)
        client.quit()

    ways = [("gateway-smtp-mx", receive), ("gateway-smtp-submission", submit), ("gateway-pop3", fetch)]
    for _, way in ways:
        way(small)
    peaks = {}
    for gateway, way in ways:
        pid = status["services"][gateway]["pid"]
        before = _kib(pid, "VmHWM")
        way(large)
        peaks[gateway] = _kib(pid, "VmHWM") - before
    return peaks


def growth_over(load, port, users, accepted, messages, status):
    """{process: [resident KiB after a tenth of the messages, at the end]}."""
    readings = {}
    for part, count in enumerate((messages // 10, messages - messages // 10)):
        done = subprocess.run([load, "smtp", "--port", str(port), "--connections", "20", "--messages", str(count), "--octets",
                               "4096", "--users", str(users), "--accepted", str(accepted), "--kept", "--tag", f"soak-{part}"],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"load smtp failed: {done.stdout}{done.stderr}")
        for name, service in status["services"].items():
            readings.setdefault(name, []).append(_kib(service["pid"], "VmRSS"))
    return readings


def report(result):
    lines = ["idle TLS session, KiB: " + ", ".join(f"{name} {kib:.1f}" for name, kib in result["idle_session_kib"].items()),
             "peak moved by a 40 MiB message, KiB: " +
             ", ".join(f"{name} {kib}" for name, kib in result["large_message_peak_kib"].items())]
    if result["messages"]:
        lines.append(f"resident after a tenth of {result['messages']} messages and after all, KiB: " +
                     ", ".join(f"{name} {first} {last}" for name, (first, last) in result["resident_kib"].items()))
    return "\n".join(lines)
