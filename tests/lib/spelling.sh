# typos: spelling in code and documents. Its program comes from PyPI.

TYPOS_VERSION=1.52.0

spelling() {
  local place=$TOOLS/typos
  if [ "$("$place/bin/typos" --version 2>/dev/null)" != "typos-cli $TYPOS_VERSION" ]; then
    rm -rf "$place"
    if ! python3 -m venv "$place" ||
      ! "$place/bin/pip" install --quiet --disable-pip-version-check "typos==$TYPOS_VERSION"; then
      skip 1 "spelling" "typos $TYPOS_VERSION could not be installed"
      return
    fi
  fi
  step "spelling" "$place/bin/typos" --format brief
}
