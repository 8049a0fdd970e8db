"""What an image is made of, as SPDX 2.3 (https://spdx.github.io/spdx-spec/v2.3/)."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable

from k8s.images.libraries import Package


def _package(package: Package) -> dict[str, object]:
    url = (f"pkg:deb/debian/{package.name}@{urllib.parse.quote(package.version, safe='')}"
           f"?arch=amd64&upstream={package.source}")
    return {
        "SPDXID": f"SPDXRef-{package.name.replace('+', '-').replace('_', '-')}", "name": package.name,
        "versionInfo": package.version, "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "supplier": "Organization: Debian",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}]}


def text(program: str, version: str, revision: str, packages: Iterable[Package]) -> str:
    listed = sorted(set(packages), key=lambda package: package.name)
    ours = {"SPDXID": "SPDXRef-Postern", "name": program, "versionInfo": version, "filesAnalyzed": False,
            "downloadLocation": "NOASSERTION", "licenseDeclared": "Apache-2.0", "supplier": "Organization: Postern"}
    return json.dumps({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{program}-{version}", "documentNamespace": f"urn:postern:{program}:{version}:{revision}",
        # The same inputs give the same image: no clock.
        "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: postern-images"]},
        "packages": [ours, *(_package(package) for package in listed)],
        "relationships": [
            {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-Postern"},
            *({"spdxElementId": "SPDXRef-Postern", "relationshipType": "DEPENDS_ON",
               "relatedSpdxElement": _package(package)["SPDXID"]} for package in listed)]}, indent=1) + "\n"
