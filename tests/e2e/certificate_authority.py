"""A CA of a test's own, by openssl as an operator would."""

from __future__ import annotations

import pathlib
import subprocess

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_DAYS = ("-days", "2")


class CertificateAuthority:
    """Its files are NAME.pem and NAME.key of a folder that is there."""

    def __init__(self, folder: pathlib.Path, name: str = "ca"):
        self._folder = folder
        self._name = name
        self.file = folder / f"{name}.pem"
        self._openssl("req", "-x509", *_KEY, *_DAYS, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
                      f"{name}.pem")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)

    def issue(self, name: str, *extensions: str) -> tuple[pathlib.Path, pathlib.Path]:
        """NAME.crt and NAME.key; `extensions` as in openssl's configuration."""
        (self._folder / f"{name}.ext").write_text("\n".join(extensions) + "\n", encoding="ascii")
        self._openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self._name}.pem", "-CAkey", f"{self._name}.key",
                      "-CAcreateserial", *_DAYS, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        return self._folder / f"{name}.crt", self._folder / f"{name}.key"
