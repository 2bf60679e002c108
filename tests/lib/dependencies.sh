# cargo-deny: licences, bans and sources always; advisories where their database can be reached.

CARGO_DENY_VERSION=0.20.2
ADVISORIES=https://github.com/rustsec/advisory-db
TOOLS=$ROOT/target/test-tools

dependencies() {
  local deny=$TOOLS/bin/cargo-deny
  if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $CARGO_DENY_VERSION" ]; then
    if ! run_logged "cargo-deny $CARGO_DENY_VERSION" env CARGO_TARGET_DIR="$TOOLS/build" \
      cargo install --locked --version "$CARGO_DENY_VERSION" --root "$TOOLS" cargo-deny; then
      skip 1 "dependencies" "cargo-deny could not be installed"
      return
    fi
    rm -rf "$TOOLS/build"
  fi
  step "dependencies" "$deny" --workspace check bans licenses sources
  if GIT_TERMINAL_PROMPT=0 timeout 20 git ls-remote --exit-code "$ADVISORIES" HEAD >/dev/null 2>&1; then
    step "advisories" "$deny" --workspace check advisories
  else
    note "advisories: not checked, $ADVISORIES cannot be reached from here"
  fi
}
