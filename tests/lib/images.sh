# The Dockerfile is built nowhere in these tests: that it copies all it needs is checked by reading.

# The workspace's crates, and what else the Dockerfile copies from the repository, are not ignored and are there.
images_have_all() {
  python3 - <<'PY'
import pathlib, re, sys, tomllib

members = tomllib.loads(pathlib.Path("Cargo.toml").read_text())["workspace"]["members"]
lines = pathlib.Path("deploy/Dockerfile").read_text().splitlines()
copied = {source for line in lines if line.startswith("COPY ") and "--from" not in line
          for source in line.split()[1:-1]}
ignored = pathlib.Path("deploy/Dockerfile.dockerignore").read_text().splitlines()
sent = {line[1:] for line in ignored if line.startswith("!")}
within = lambda path, folders: any(path == one or path.startswith(one + "/") for one in folders)
wrong = [f"{member} is built and not copied" for member in members if not within(member, copied)]
wrong += [f"{source} is copied and not there" for source in copied if not pathlib.Path(source).exists()]
wrong += [f"{source} is copied and ignored" for source in copied if not within(source, sent)]
print("\n".join(wrong) or f"{len(copied)} paths, {len(members)} crates")
sys.exit(bool(wrong))
PY
}
