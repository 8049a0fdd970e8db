"""Debian's Dovecot, 2.3 or 2.4, as temporary instances: what Postern is measured against, and what mail is moved from."""

from __future__ import annotations

import grp
import os
import pathlib
import pwd
import subprocess

_LDA = "/usr/lib/dovecot/dovecot-lda"

_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = pop3
listen = 127.0.0.1
first_valid_uid = 1
auth_mechanisms = plain
default_login_user = {login_user}
default_internal_user = {internal_user}
default_internal_group = {internal_group}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = {pop3s_port}
    ssl = yes
  }}
}}
"""

# What has other names in each.
_OLD_CONF = """\
mail_location = maildir:{maildirs}
passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={maildirs}
}}
"""
_OLD_TLS = """\
ssl = required
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = yes
"""
_NEW_CONF = """\
mail_driver = maildir
mail_path = {maildirs}
passdb passwd-file {{
  passwd_file_path = {users}
}}
userdb static {{
  fields {{
    uid = {uid}
    gid = {gid}
    home = {maildirs}
  }}
}}
"""
_NEW_TLS = """\
ssl = required
ssl_server_cert_file = {certificate}
ssl_server_key_file = {key}
auth_allow_cleartext = no
"""
_NO_TLS = "ssl = no\n"

# Whoever isn't root can't change its root.
_ROOTLESS = "".join(f"service {service} {{{{\n  chroot =\n}}}}\n" for service in ("anvil", "stats", "pop3-login"))


class Dovecot:
    """One instance, in `folder`; after start() it runs when its port answers."""

    def __init__(self, folder: pathlib.Path, port: int, users: pathlib.Path, maildirs: str, *, owner: str = "dovecot",
                 rootless: bool = False, tls: tuple[pathlib.Path, pathlib.Path] | None = None, more: str = ""):
        """
        users: a passwd-file.
        maildirs: where each is; %n is the user without a domain.
        owner: of the Maildirs.
        rootless: all of it runs as `owner`, or as who we are when that isn't root.
        tls: certificate and key; without them it speaks POP3 in clear.
        more: settings after these.
        """
        self._folder = folder
        self._conf = folder / "dovecot.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self._as_owner: list[str] = []
        user = pwd.getpwnam(owner) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        internal = user if rootless else pwd.getpwnam("dovecot")
        if rootless and os.geteuid() == 0:
            # The capability: it has to reach its own folder below those that only root may enter. Its access(2), too: a
            # Maildir that seems read-only keeps its flags out of the names.
            self._as_owner = ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups",
                              "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
                              "--securebits", "+no_setuid_fixup", "--"]
        for made in (folder, folder / "run", folder / "state"):
            made.mkdir(parents=True)
            if rootless:
                os.chown(made, user.pw_uid, user.pw_gid)
        version = subprocess.run(["dovecot", "--version"], check=True, capture_output=True, text=True).stdout
        old = version.startswith("2.3.")
        text = "" if old else "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
        text += _CONF + (_OLD_CONF if old else _NEW_CONF) + (_ROOTLESS if rootless else "")
        text += _NO_TLS if tls is None else _OLD_TLS if old else _NEW_TLS
        certificate, key = tls or ("", "")
        self._conf.write_text(text.format(
            folder=folder, users=users, uid=user.pw_uid, gid=user.pw_gid, certificate=certificate, key=key,
            maildirs=maildirs if old else maildirs.replace("%n", "%{user | username}"),
            pop3_port=0 if tls else port, pop3s_port=port if tls else 0,
            login_user=user.pw_name if rootless else "dovenull", internal_user=internal.pw_name,
            internal_group=grp.getgrgid(internal.pw_gid).gr_name) + more, encoding="utf-8")

    def start(self) -> "Dovecot":
        self._process = subprocess.Popen([*self._as_owner, "dovecot", "-F", "-c", str(self._conf)])
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    @property
    def log(self) -> str:
        log = self._folder / "log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def deliver(self, user: str, sender: str, message: bytes, *options: str) -> None:
        """By dovecot-lda(1), into the inbox unless its options say otherwise."""
        done = subprocess.run([*self._as_owner, _LDA, "-c", str(self._conf), "-d", user, "-f", sender, *options],
                              input=message, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"dovecot-lda ended with {done.returncode}: {done.stderr.decode()}{self.log}")
