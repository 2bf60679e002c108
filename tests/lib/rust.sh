# The toolchain, and cargo's tests counted one by one.

toolchain() {
  if ! command -v cargo >/dev/null; then
    echo "tests/run: cargo is not there; install Rust with rustup, https://rustup.rs" >&2
    exit 1
  fi
  # rust-toolchain.toml names the version; rustup fetches it, and the components, at first use.
  for component in fmt clippy; do
    cargo "$component" --version >/dev/null 2>&1 && continue
    run_logged "component $component" rustup component add "${component/fmt/rustfmt}"
  done
}

# count_results NAME STATUS: adds up the "test result:" lines of a step's log.
count_results() {
  local passed failed ignored
  read -r passed failed ignored < <(
    awk '/^test result:/ {
           for (i = 2; i <= NF; i++) {
             if ($i == "passed;") p += $(i - 1)
             if ($i == "failed;") f += $(i - 1)
             if ($i == "ignored;") g += $(i - 1)
           }
         }
         END { print p + 0, f + 0, g + 0 }' "$(log_of "$1")"
  )
  # A test program that died, or did not build, has no line of its own.
  if [ "$2" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
  SKIPPED=$((SKIPPED + ignored))
}

# cargo_tests NAME ARGUMENTS...: ignored tests are those that need something this script
# provides: they run when it did, and count as skipped when it could not.
cargo_tests() {
  local name=$1 status=0
  shift
  local harness=()
  [ "$DEBIAN_READY" = yes ] && harness=(--include-ignored)
  run_logged "$name" cargo test --locked --no-fail-fast "$@" -- "${harness[@]}" || status=$?
  count_results "$name" "$status"
}

step_doc_tests() {
  local status=0
  run_logged "documentation tests" cargo test --locked --no-fail-fast --workspace --doc || status=$?
  count_results "documentation tests" "$status"
}
