"""A real OpenLDAP server for tests: Debian's, with ppolicy, memberof and syncprov."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
from typing import Any

from tests.e2e.certificate_authority import CertificateAuthority
from tests.e2e.hanging import suspend
from tests.e2e.remote_mta import free_port
from tests.e2e.waiting import wait_until

_HOST = "127.0.0.1"
_BASE = "dc=staff,dc=test"
_ADMINISTRATOR = ("-D", f"cn=admin,{_BASE}", "-w", "of-the-administrator")

_CONFIGURATION = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload memberof
moduleload syncprov
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/server.crt
TLSCertificateKeyFile {folder}/server.key
database mdb
suffix {base}
rootdn cn=admin,{base}
rootpw of-the-administrator
directory {folder}/db
index mail,entryUUID eq
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=cn=postern,{base} read by * none
overlay ppolicy
ppolicy_default cn=policy,{base}
ppolicy_use_lockout
overlay memberof
overlay syncprov
"""

_ENTRIES = """\
dn: {base}
objectClass: dcObject
objectClass: organization
o: Staff
dc: staff

dn: ou=people,{base}
objectClass: organizationalUnit
ou: people

dn: cn=postern,{base}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: postern
userPassword: of-postern

dn: cn=policy,{base}
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 5

"""


class LdapServer:
    """Below dc=staff,dc=test, empty but for cn=postern, who may search."""

    def __init__(self, folder: pathlib.Path):
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "db").mkdir(parents=True)
        CertificateAuthority(folder).issue("server", f"subjectAltName=IP:{_HOST}")
        (folder / "password").write_text("of-postern\n", encoding="ascii")
        (folder / "slapd.conf").write_text(_CONFIGURATION.format(folder=folder, base=_BASE), encoding="ascii")
        subprocess.run([self._program("slapadd"), "-q", "-f", str(folder / "slapd.conf")], check=True,
                       input=_ENTRIES.format(base=_BASE).encode())

    @staticmethod
    def _program(name: str) -> str:
        found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
        assert found, f"{name} is missing: ./dev test installs it"
        return found

    @property
    def url(self) -> str:
        return f"ldap://{_HOST}:{self._port}"

    def settings(self, **others: Any) -> dict[str, Any]:
        """How auth-svc is told of it."""
        return {"name": "staff", "domains": ["staff.test"], "servers": [self.url],
                "ca_file": str(self._folder / "ca.pem"), "bind_dn": f"cn=postern,{_BASE}",
                "bind_password_file": str(self._folder / "password"), "base_dn": _BASE} | others

    def start(self) -> "LdapServer":
        self._process = subprocess.Popen(
            [self._program("slapd"), "-f", str(self._folder / "slapd.conf"), "-h", self.url, "-d", "none"])
        wait_until(lambda: self._modify("").returncode == 0, 30, "slapd answers")
        return self

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def hang(self) -> None:
        assert self._process is not None
        suspend(self._process.pid)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _modify(self, ldif: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ldapmodify", "-x", "-H", self.url, *_ADMINISTRATOR], input=ldif, text=True,
                              capture_output=True, check=False)

    def change(self, ldif: str) -> None:
        done = self._modify(ldif)
        assert done.returncode == 0, done.stderr

    def add_person(self, uid: str, password: str, *addresses: str) -> None:
        mail = "".join(f"mail: {address}\n" for address in addresses or (f"{uid}@staff.test",))
        self.change(f"dn: uid={uid},ou=people,{_BASE}\nchangetype: add\nobjectClass: inetOrgPerson\ncn: {uid}\n"
                    f"sn: {uid}\n{mail}userPassword: {password}\n")

    def add_people(self, people: list[tuple[str, str]]) -> None:
        """(uid, password) of each; as add_person, all at once."""
        self.change("".join(f"dn: uid={uid},ou=people,{_BASE}\nchangetype: add\nobjectClass: inetOrgPerson\n"
                            f"cn: {uid}\nsn: {uid}\nmail: {uid}@staff.test\nuserPassword: {password}\n\n"
                            for uid, password in people))

    def set(self, uid: str, attribute: str, *values: str) -> None:
        self.change(f"dn: uid={uid},ou=people,{_BASE}\nchangetype: modify\nreplace: {attribute}\n"
                    + "".join(f"{attribute}: {value}\n" for value in values))

    def remove_person(self, uid: str) -> None:
        self.change(f"dn: uid={uid},ou=people,{_BASE}\nchangetype: delete\n")

    def add_group(self, address: str, *uids: str) -> None:
        name = address.partition("@")[0]
        self.change(f"dn: cn={name},{_BASE}\nchangetype: add\nobjectClass: groupOfNames\n"
                    f"objectClass: extensibleObject\ncn: {name}\nmail: {address}\n"
                    + "".join(f"member: uid={uid},ou=people,{_BASE}\n" for uid in uids))
