# Where `unsafe` may be: the lint `unsafe_code` is denied everywhere, and only the kernels lift it.

KERNEL_FILES='^similarity/src/(avx|neon)[a-z0-9]*\.rs$'

only_kernels_are_unsafe() {
  local found=0 file
  # Where the lint is lifted.
  while read -r file; do
    [[ $file =~ $KERNEL_FILES ]] && continue
    echo "$file lifts the lint unsafe_code, and is no kernel"
    found=1
  done < <(git ls-files '*.rs' | xargs grep -lE 'allow\([^)]*unsafe_code|expect\([^)]*unsafe_code')
  # Where it does not reach: crates that do not take the workspace's lints.
  while read -r file; do
    grep -q '^\[workspace\]' "$file" && continue
    grep -A1 '^\[lints\]' "$file" | grep -q '^workspace = true' && continue
    echo "$file does not take the workspace's lints"
    found=1
  done < <(git ls-files '*/Cargo.toml' ':!fuzz')
  grep -q '^unsafe_code = "deny"' Cargo.toml || {
    echo "Cargo.toml no longer denies unsafe_code"
    found=1
  }
  # What is not built with the lints must not need any.
  if git ls-files fuzz | grep '\.rs$' | xargs grep -nE '\bunsafe\b'; then found=1; fi
  return $found
}
