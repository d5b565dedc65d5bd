"""Holds a bill of materials against what `cargo tree` prints and what the lock file has.

usage: check.py BOM TREE LOCK
"""

import json
import re
import sys


def main(bom, tree, lock):
    with open(bom, encoding="utf-8") as file:
        document = json.load(file)
    with open(tree, encoding="utf-8") as file:
        # "name vVERSION", and behind it where it comes from, or that it was listed before.
        built = {tuple(line.split()[:2]) for line in file if line.strip()}
    built = {(name, version.removeprefix("v")) for name, version in built}
    with open(lock, encoding="utf-8") as file:
        locked = set(re.findall(r'^name = "(.+)"\nversion = "(.+)"$', file.read(), re.MULTILINE))

    problems = []
    if (document.get("bomFormat"), document.get("specVersion")) != ("CycloneDX", "1.5"):
        problems.append("it is no CycloneDX 1.5")
    own = document.get("metadata", {}).get("component", {})
    components = document.get("components", [])
    listed = {(part["name"], part["version"]) for part in [own, *components] if part.get("name")}
    if own.get("name") != "hookward":
        problems.append("it is not about hookward")
    if len(built) < 50 or len(components) < 50:
        problems.append(f"{len(built)} crates are built, and {len(components)} are listed")
    problems += [f"{name} {version} is built and not listed" for name, version in sorted(built - listed)]
    problems += [f"{name} {version} is listed and not locked" for name, version in sorted(listed - locked)]
    for part in components:
        for field in ("purl", "licenses", "hashes"):
            if not part.get(field):
                problems.append(f"{part['name']} {part['version']} has no {field}")
    for problem in problems:
        print(f"{bom}: {problem}", file=sys.stderr)
    if not problems:
        print(f"{bom}: {len(components)} components, all {len(built)} crates of cargo tree among them")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
