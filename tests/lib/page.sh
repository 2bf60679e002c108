# The page in a real browser; skipped where there is none and none can be installed.

# What tests/page/run exits with then.
NO_BROWSER=77

page_tests() {
  local status=0
  KINDRED_TEST_PROGRAM=$ROOT/target/debug/kindred run_logged "page" tests/page/run || status=$?
  case $status in
    0) PASSED=$((PASSED + 1)) ;;
    "$NO_BROWSER") skip 1 "page" "Chromium, Node or what it needs could not be installed" ;;
    *) FAILED=$((FAILED + 1)) ;;
  esac
}
