# Steps: run one, show it, time it, count it, and stop it when the run is stopped.

PASSED=0
FAILED=0
SKIPPED=0
CURRENT_GROUP=
AT_END=()
STARTED_AT=$SECONDS
LOGS=$ROOT/target/test-logs
# Programs that check and run tests. They take minutes to build, and are the same for every checkout.
TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/kindred-test-tools

begin() {
  mkdir -p "$LOGS"
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  trap 'stop_all' EXIT
}

# at_end COMMAND: run once when the run ends, however it ends.
at_end() {
  AT_END+=("$1")
}

stop_all() {
  # A second Ctrl-C must not leave half of it behind.
  trap '' INT TERM HUP
  stop_current
  local command
  for command in "${AT_END[@]}"; do
    "$command"
  done
  AT_END=()
}

stop_current() {
  [ -n "$CURRENT_GROUP" ] || return 0
  kill -TERM -- "-$CURRENT_GROUP" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 -- "-$CURRENT_GROUP" 2>/dev/null || break
    sleep 0.2
  done
  kill -KILL -- "-$CURRENT_GROUP" 2>/dev/null
  CURRENT_GROUP=
}

log_of() {
  echo "$LOGS/${1//[^A-Za-z0-9]/-}.log"
}

# run_logged NAME COMMAND...: shows and keeps what it says; returns its exit status.
run_logged() {
  local name=$1 log started status
  shift
  log=$(log_of "$name")
  started=$SECONDS
  printf '\n== %s: %s\n' "$name" "$*"
  # A process group of its own, so that all of it can be stopped.
  set -m
  (
    set -o pipefail
    "$@" 2>&1 </dev/null | tee "$log"
  ) &
  CURRENT_GROUP=$!
  set +m
  wait "$CURRENT_GROUP"
  status=$?
  # What it may have left behind (a program under test) goes with it.
  kill -KILL -- "-$CURRENT_GROUP" 2>/dev/null
  CURRENT_GROUP=
  printf '== %s: %s in %ds\n' "$name" "$([ $status -eq 0 ] && echo ok || echo "FAILED ($status)")" \
    $((SECONDS - started))
  return $status
}

# cargo_tool NAME VERSION OPTIONS...: installs a program of crates.io below TOOLS, unless it is there.
cargo_tool() {
  local name=$1 version=$2 build
  shift 2
  grep -qs "^\"$name $version " "$TOOLS/.crates.toml" && [ -x "$TOOLS/bin/$name" ] && return
  mkdir -p "$TOOLS"
  build=$(mktemp -d "$TOOLS/build.XXXXXX") || return 1
  # They run for seconds: what counts is the time to build them.
  run_logged "$name $version" env CARGO_TARGET_DIR="$build" CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install --debug --locked --version "$version" --root "$TOOLS" "$@" "$name"
  local status=$?
  rm -rf "$build"
  return $status
}

# step NAME COMMAND...: one check; counts as one passed or failed.
step() {
  if run_logged "$@"; then
    PASSED=$((PASSED + 1))
  else
    FAILED=$((FAILED + 1))
  fi
}

# skip COUNT WHAT WHY
skip() {
  SKIPPED=$((SKIPPED + $1))
  printf '\n== %s: skipped: %s\n' "$2" "$3"
}

note() {
  printf '\n== %s\n' "$*"
}

summary() {
  printf '\nall steps: %ds\n' $((SECONDS - STARTED_AT))
  printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  [ "$FAILED" -eq 0 ]
  exit $?
}
