#!/usr/bin/python3
"""Writes compile_commands.json from what Bazel would run, for editors and clang-tidy."""

import json
import pathlib
import subprocess
import sys

# Flags of GCC that clang's tools don't know.
_GCC_ONLY = ("-fno-canonical-system-headers", "-Wno-free-nonheap-object",
             "-Wunused-but-set-parameter")


def _bazel(*arguments: str) -> str:
    return subprocess.run(("bazel",) + arguments, check=True, stdout=subprocess.PIPE,
                          text=True).stdout


def main() -> int:
    root = pathlib.Path.cwd()
    execution_root = _bazel("info", "execution_root").strip()
    actions = json.loads(_bazel("aquery", 'mnemonic("CppCompile", //...)',
                                "--output=jsonproto")).get("actions", [])
    commands = {}
    for action in actions:
        arguments = [a for a in action["arguments"] if a not in _GCC_ONLY]
        if "-c" not in arguments:
            continue
        at = arguments.index("-c") + 1
        source = arguments[at]
        if source.startswith(("bazel-out/", "external/")):
            continue
        file = str(root / source)
        arguments[at] = file
        commands[file] = {"directory": execution_root, "file": file, "arguments": arguments}
    path = root / "compile_commands.json"
    path.write_text(json.dumps(list(commands.values()), indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {len(commands)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
