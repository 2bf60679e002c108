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

# count_results LOG_NAME STATUS: adds up the "test result:" lines of a step's log. Ignored tests
# are counted by whoever decides whether they run.
count_results() {
  local passed failed
  read -r passed failed < <(
    awk '/^test result:/ {
           for (i = 2; i <= NF; i++) {
             if ($i == "passed;") p += $(i - 1)
             if ($i == "failed;") f += $(i - 1)
           }
         }
         END { print p + 0, f + 0 }' "$(log_of "$1")"
  )
  # A test program that died, or did not build, has no line of its own.
  if [ "$2" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
}

# Words in the reason of an ignored test, and the variable that says whether what it needs is
# there. A test runs when nothing that its reason names is missing.
NEEDS=(
  "package lists:DEBIAN_READY"
  "needs services:SERVICES_READY"
  "KINDRED_TEST_AMQP_URL:SERVICES_READY"
  "KINDRED_TEST_CQL_NODES:SERVICES_READY"
  "kills services:CONTROLS_READY"
  "needs pika:PIKA_READY"
)

# ignored_tests LOG_NAME: name and reason of each ignored test, as cargo shows them.
ignored_tests() {
  sed -n 's/^test \(.*\) \.\.\. ignored, \{0,1\}\(.*\)$/\1\t\2/p' "$(log_of "$1")"
}

# cargo_tests NAME ARGUMENTS...: ignored tests are those that need something this script
# provides: they run when it did, and count as skipped when it could not.
cargo_tests() {
  local name=$1 status=0 missing=() need
  shift
  for need in "${NEEDS[@]}"; do
    local ready=${need#*:}
    [ "${!ready}" = yes ] || missing+=("${need%%:*}")
  done
  if [ "${#missing[@]}" -eq 0 ]; then
    run_logged "$name" cargo test --locked --no-fail-fast "$@" -- --include-ignored || status=$?
    count_results "$name" "$status"
    return
  fi

  run_logged "$name" cargo test --locked --no-fail-fast "$@" || status=$?
  count_results "$name" "$status"
  local test reason skips=() ignored=0 words
  while IFS=$'\t' read -r test reason; do
    ignored=$((ignored + 1))
    for words in "${missing[@]}"; do
      case $reason in *"$words"*)
        skips+=(--skip "$test")
        break
        ;;
      esac
    done
  done < <(ignored_tests "$name")
  local skipped=$((${#skips[@]} / 2))
  [ "$skipped" -eq 0 ] || skip "$skipped" "$name" "missing: $(printf '%s; ' "${missing[@]}")"
  [ "$ignored" -gt "$skipped" ] || return 0
  status=0
  run_logged "$name, ignored ones" cargo test --locked --no-fail-fast "$@" -- \
    --ignored --exact "${skips[@]}" || status=$?
  local before=$((PASSED + FAILED))
  count_results "$name, ignored ones" "$status"
  if [ $((PASSED + FAILED - before)) -ne $((ignored - skipped)) ]; then
    note "$name: of $ignored ignored tests, $skipped are skipped, and the rest did not all run"
    FAILED=$((FAILED + 1))
  fi
}

step_doc_tests() {
  local status=0
  run_logged "documentation tests" cargo test --locked --no-fail-fast --workspace --doc || status=$?
  count_results "documentation tests" "$status"
  SKIPPED=$((SKIPPED + $(grep -c '^test .* \.\.\. ignored' "$(log_of "documentation tests")")))
}
