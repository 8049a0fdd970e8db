"""Debian's Postfix and Dovecot as temporary instances under one folder: what Postern is measured against.

As shipped where a setting exists, on loopback, on free ports, with the bench's P-256 certificate and Dovecot's
authentication cache on. Postfix delivers with virtual(8) into Maildirs that Dovecot reads.
"""
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
import time

from dovecot import Dovecot

MASTER_CF = """\
127.0.0.1:{port}  inet  n  -  n  -  -    smtpd
pickup    unix  n  -  n  60    1    pickup
cleanup   unix  n  -  n  -     0    cleanup
qmgr      unix  n  -  n  300   1    qmgr
tlsmgr    unix  -  -  n  1000? 1    tlsmgr
rewrite   unix  -  -  n  -     -    trivial-rewrite
bounce    unix  -  -  n  -     0    bounce
defer     unix  -  -  n  -     0    bounce
trace     unix  -  -  n  -     0    bounce
verify    unix  -  -  n  -     1    verify
flush     unix  n  -  n  1000? 0    flush
proxymap  unix  -  -  n  -     -    proxymap
proxywrite unix -  -  n  -     1    proxymap
smtp      unix  -  -  n  -     -    smtp
relay     unix  -  -  n  -     -    smtp
error     unix  -  -  n  -     -    error
retry     unix  -  -  n  -     -    error
discard   unix  -  -  n  -     -    discard
local     unix  -  n  n  -     -    local
virtual   unix  -  n  n  -     -    virtual
lmtp      unix  -  -  n  -     -    lmtp
anvil     unix  -  -  n  -     1    anvil
scache    unix  -  -  n  -     1    scache
postlog   unix-dgram n -  n  -  1    postlogd
"""

# What is not as shipped: paths, names, the virtual domain, and the limit of 50 new connections at once per client, since
# the load comes from one address.
MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/postfix-data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {root}/log/postfix.log
maillog_file_prefixes = {root}
myhostname = mail.example.test
mydestination =
inet_protocols = ipv4
mynetworks = 127.0.0.2/32
alias_maps =
virtual_mailbox_domains = example.test
virtual_mailbox_base = {root}/mail
virtual_mailbox_maps = texthash:{root}/postfix/mailboxes
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_tls_security_level = may
smtpd_tls_chain_files = {key}, {certificate}
smtpd_client_connection_count_limit = 0
"""

DOVECOT_CONF = """
auth_cache_size = 10M
service stats {
  client_limit = 1000
}
"""

# Dovecot's high-performance mode: a process serves many logins. Beside the one as shipped, with the same maildrops.
REUSED_CONF = """
service pop3-login {
  service_count = 0
}
service pop3 {
  service_count = 0
}
service auth {
  client_limit = 2000
}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_port(port, seconds=30):
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing answers on port {port}") from None
            time.sleep(0.05)


class PostfixDovecot:
    """One instance; a context manager. `users` is a list of (address, password, scheme as doveadm-pw(1) names it)."""

    name = "Postfix + Dovecot"

    def __init__(self, root, users, certificate, key):
        self.root = pathlib.Path(root)
        self.users = users
        self.certificate = certificate
        self.key = key
        self.smtp_port = free_port()
        self.pop3s_port = free_port()
        self.reused_pop3s_port = free_port()

    def __enter__(self):
        owner = pwd.getpwnam("postfix")
        values = {
            "root": self.root, "uid": owner.pw_uid, "gid": owner.pw_gid, "certificate": self.certificate, "key": self.key,
        }
        for folder in ("postfix", "spool", "postfix-data", "log", "mail"):
            (self.root / folder).mkdir(parents=True)
        for folder in ("postfix-data", "mail"):
            os.chown(self.root / folder, owner.pw_uid, owner.pw_gid)
        # mkdtemp's 0700 would keep the daemons out, which drop their privileges.
        self.root.chmod(0o755)
        for name in ("main.cf", "master.cf"):
            text = MAIN_CF if name == "main.cf" else MASTER_CF
            (self.root / "postfix" / name).write_text(text.format(port=self.smtp_port, **values))
        (self.root / "postfix" / "mailboxes").write_text(
            "".join(f"{address} {address.split('@')[0]}/\n" for address, _, _ in self.users))
        if os.path.exists("/etc/postfix/dynamicmaps.cf"):
            shutil.copy("/etc/postfix/dynamicmaps.cf", self.root / "postfix")
        lines = []
        for address, password, scheme in self.users:
            hashed = subprocess.run(["doveadm", "pw", "-s", scheme, "-p", password], check=True, capture_output=True,
                                    text=True).stdout.strip()
            lines.append(f"{address}:{hashed}\n")
        (self.root / "users").write_text("".join(lines))
        (self.root / "users").chmod(0o644)
        subprocess.run(["postfix", "-c", str(self.root / "postfix"), "start"], check=True, capture_output=True, text=True)
        self.postfix_pid = int((self.root / "spool/pid/master.pid").read_text())
        self.dovecots = [self._start_dovecot("dovecot", self.pop3s_port, DOVECOT_CONF),
                         self._start_dovecot("reused", self.reused_pop3s_port, DOVECOT_CONF + REUSED_CONF)]
        wait_for_port(self.smtp_port)
        wait_for_port(self.pop3s_port)
        wait_for_port(self.reused_pop3s_port)
        return self

    def _start_dovecot(self, name, port, more):
        return Dovecot(self.root / name, port, self.root / "users", f"{self.root}/mail/%n", owner="postfix",
                       tls=(self.certificate, self.key), more=more).start()

    def __exit__(self, *_):
        subprocess.run(["postfix", "-c", str(self.root / "postfix"), "stop"], capture_output=True, check=False)
        for dovecot in self.dovecots:
            dovecot.stop()

    def roots(self):
        """The processes whose trees are this system, by pid."""
        return [self.postfix_pid, *(dovecot.pid for dovecot in self.dovecots)]

    def settle(self):
        """Returns when everything accepted is in a maildrop."""
        deadline = time.monotonic() + 300
        queues = [self.root / "spool" / q for q in ("incoming", "active", "deferred", "maildrop")]
        while any(p.is_file() for q in queues for p in q.rglob("*")):
            if time.monotonic() > deadline:
                raise RuntimeError("Postfix did not empty its queue")
            time.sleep(0.1)

    def commits(self):
        """None are told."""

    def rpcs(self):
        return None
