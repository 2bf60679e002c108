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

NEXTEST_VERSION=0.9.151

# nextest: the one that is installed, whatever its version, or one of our own.
nextest() {
  PATH=$TOOLS/bin:$PATH
  cargo nextest --version >/dev/null 2>&1 && return
  cargo_tool cargo-nextest "$NEXTEST_VERSION" --no-default-features --features default-no-update || exit 1
}

# Which tests need what this script provides: the variable that says whether it is there, what it is, and the tests, in
# nextest's filter language. The first two and the last are what .config/nextest.toml leaves out by default.
NEEDS=(
  "SERVICES_READY:services:binary(clustered) | test(/::rabbitmq::tests::/) | test(/::cassandra::tests::/)"
  "DEBIAN_READY:Debian's package lists:test(/^whole_import::/) | test(/^kills::/)"
  "CONTROLS_READY:services that may be killed:binary(clustered) & test(/^(away|kills)::|both_before_broker_and_database|a_database_that_is_away|a_missing_plugin|though_the_broker_and_the_publisher_die/)"
  "PIKA_READY:pika:binary(clustered) & test(/^whole_import::|operations_on_a_cluster/)"
  "ENCODER_READY:an encoder:binary(minilm) | test(/::minilm::/) | test(/^encoders::/)"
)

# count_results LOG_NAME STATUS: adds up the summary of a step's log.
count_results() {
  local passed failed
  # Summary [  12.345s] 586 tests run: 584 passed (3 slow), 2 failed, 1 timed out, 5 skipped
  # test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out
  read -r passed failed < <(
    sed 's/\x1b\[[0-9;]*m//g' "$(log_of "$1")" |
      awk '/^ *Summary \[.*tests? run:/ || /^test result:/ {
             gsub(/[;,]/, "")
             for (i = 2; i <= NF; i++) {
               if ($i == "passed") p += $(i - 1)
               if ($i == "failed" && $(i - 1) != "exec") f += $(i - 1)
               if ($i == "exec" && $(i + 1) == "failed") f += $(i - 1)
               if ($i == "timed" && $(i + 1) == "out") f += $(i - 1)
             }
           }
           END { print p + 0, f + 0 }'
  )
  # A test program that died, or did not build, has no line of its own.
  if [ "$2" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
}

# nextest leaves ignored tests out without a word: only those that measure something may be ignored.
none_is_ignored() {
  ! git grep -n '#\[ignore' -- '*.rs' | grep -v '#\[ignore = "measures '
}

# count_tests ARGUMENTS...: how many tests there are.
count_tests() {
  cargo nextest list --locked --profile all --message-format oneline "$@" 2>/dev/null | grep -c .
}

# run_tests NAME ARGUMENTS...: those that need what is not there count as skipped.
run_tests() {
  local name=$1 status=0 missing=() need ready words tests filter=""
  shift
  for need in "${NEEDS[@]}"; do
    IFS=: read -r ready words tests <<<"$need"
    [ "${!ready}" = yes ] && continue
    missing+=("$words")
    filter="${filter:+$filter | }($tests)"
  done
  local chosen=()
  if [ -n "$filter" ]; then
    chosen=(-E "not ($filter)")
    skip "$(count_tests "$@" -E "$filter")" "$name" "missing: $(printf '%s; ' "${missing[@]}")"
  fi
  run_logged "$name" cargo nextest run --locked --profile all "$@" "${chosen[@]}" || status=$?
  count_results "$name" "$status"
}

step_doc_tests() {
  local status=0
  run_logged "documentation tests" cargo test --locked --no-fail-fast --workspace --doc || status=$?
  count_results "documentation tests" "$status"
  SKIPPED=$((SKIPPED + $(grep -c '^test .* \.\.\. ignored' "$(log_of "documentation tests")")))
}
