"""./dev images: an OCI archive for each program, in .images/."""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

from ctl.up import layout
from ctl.up.failure import Failure
from k8s.images.builder import NAMES, Builder, version


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev images", description="Makes container images of what is built.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES) + "; all unless told")
    parser.add_argument("--output", metavar="DIR", default=str(layout.ROOT / ".images"), type=str,
                        help="where the OCI archives go (default: .images)")
    parser.add_argument("--tag", help="of the images (default: the version)")
    given = parser.parse_args(arguments)
    for name in given.names:
        if name not in NAMES:
            parser.error(f"there is no image {name!r}; there are {', '.join(NAMES)}")
    to = pathlib.Path(given.output)
    try:
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="postern-images-", dir="/var/tmp") as scratch:
            builder = Builder(to, pathlib.Path(scratch), given.tag or version())
            for name in given.names or NAMES:
                archive = builder.build(name)
                print(f"postern/{name}:{builder.tag}  {archive}  {archive.stat().st_size / 1e6:.0f} MB", flush=True)
    except (Failure, OSError) as failure:
        print(f"./dev images: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
