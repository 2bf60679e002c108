# The sentence encoder that tests run, from Maven's repository.

ENCODER_READY=no

encoders() {
  if ! command -v mvn >/dev/null; then
    run_logged "Maven" install_packages openjdk-17-jre-headless maven
  fi
  if run_logged "encoder for tests" tests/encoders/fetch; then
    ENCODER_READY=yes
  else
    note "encoder for tests: it cannot be fetched; the tests that run it count as skipped"
  fi
}
