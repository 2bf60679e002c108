# Debian's package lists with their descriptions: the real texts of the program tests.

DEBIAN_READY=no
APT_TIMEOUT_S=180
# Lists change daily; a copy of some days is as good.
LISTS_AGE_MIN=10080

has_lists() {
  compgen -G "$1/*_Packages*" >/dev/null
}

# Fetches the lists into target/, not into the system's place: many images leave out the long
# descriptions there.
debian_lists() {
  local own=$ROOT/target/debian-lists
  if ! command -v apt-get >/dev/null || [ ! -x /usr/lib/apt/apt-helper ]; then
    note "Debian's package lists: no apt here; the tests that read them count as skipped"
    return
  fi
  if [ -z "$(find "$own/.complete" -mmin "-$LISTS_AGE_MIN" 2>/dev/null)" ]; then
    mkdir -p "$own/partial"
    if run_logged "Debian's package lists" timeout "$APT_TIMEOUT_S" apt-get update \
      -o "Dir::State::Lists=$own" -o "Dir::Cache::pkgcache=" -o "Dir::Cache::srcpkgcache=" \
      -o "Acquire::Languages=en" -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false" \
      -o "APT::Update::Error-Mode=any"; then
      touch "$own/.complete"
    fi
  fi
  if [ -e "$own/.complete" ] && has_lists "$own"; then
    export KINDRED_TEST_APT_LISTS=$own
  elif has_lists /var/lib/apt/lists; then
    note "Debian's package lists: from /var/lib/apt/lists; long descriptions may be missing"
    export KINDRED_TEST_APT_LISTS=/var/lib/apt/lists
  else
    note "Debian's package lists: none, and apt-get update failed; their tests count as skipped"
    return
  fi
  DEBIAN_READY=yes
}
