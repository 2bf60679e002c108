# cargo-deny: licences, bans and sources always; advisories where their database can be reached.

CARGO_DENY_VERSION=0.20.2
ADVISORIES=https://github.com/rustsec/advisory-db

dependencies() {
  local deny=$TOOLS/bin/cargo-deny
  if ! cargo_tool cargo-deny "$CARGO_DENY_VERSION"; then
    skip 1 "dependencies" "cargo-deny could not be installed"
    return
  fi
  step "dependencies" "$deny" --workspace check bans licenses sources
  if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --exit-code "$ADVISORIES" HEAD >/dev/null 2>&1; then
    step "advisories" "$deny" --workspace check advisories
  else
    note "advisories: not checked, $ADVISORIES cannot be reached from here"
  fi
}

# Dependencies that no source names; examples and tests may use those of [dev-dependencies] alone.
used_dependencies() {
  python3 - <<'PYTHON'
import re
import sys
import tomllib
from pathlib import Path

KINDS = {"dependencies": ["src", "build.rs"], "dev-dependencies": ["src", "tests", "benches", "examples"],
         "build-dependencies": ["build.rs"]}
unused = []
for manifest in sorted(Path(".").glob("**/Cargo.toml")):
    # The workspace itself; and what takes sources of others in by their path.
    if {"target", "fuzz"} & set(manifest.parts) or manifest.parent == Path("."):
        continue
    package = tomllib.loads(manifest.read_text())
    outside = [Path(test["path"]).parent for test in package.get("test", []) if "path" in test]
    bins = [Path(target["path"]) for target in package.get("bin", []) if "path" in target]
    tables = [package, *package.get("target", {}).values()]
    for kind, places in KINDS.items():
        roots = [manifest.parent / place for place in [*places, *bins]]
        if kind == "dev-dependencies":
            roots += [manifest.parent / test for test in outside]
        files = [file for root in roots for file in (root.rglob("*.rs") if root.is_dir() else [root] if root.exists() else [])]
        source = "\n".join(file.read_text() for file in files)
        for table in tables:
            for name in table.get(kind, {}):
                if not re.search(rf"\b{name.replace('-', '_')}\b", source):
                    unused.append(f"{manifest}: {name} in [{kind}] is not used")
print("\n".join(unused))
sys.exit(bool(unused))
PYTHON
}
