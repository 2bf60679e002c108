# The sentence encoder that tests run, from Maven's repository.

encoders() {
  if ! command -v mvn >/dev/null; then
    run_logged "Maven" install_packages openjdk-17-jre-headless maven
  fi
  step "encoder for tests" tests/encoders/fetch
}
