#!/usr/bin/env bash
# Both sides of the wall in one minute: the guard on a real container, then the shield around a real program. `make demo` has
# installed and built what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly built=${CARGO_TARGET_DIR:-target}/release

"$built/lab" demo "$@"

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

program=(/bin/busybox sha256sum /bin/busybox)
step 'Shield: the enclave, measured as a processor would measure it'
echo "MRENCLAVE $("$built/casemate" enclave measure)"
step "Shield: ${program[*]}, natively"
native=$("${program[@]}")
echo "$native"
step 'Shield: the same unmodified program inside the enclave'
inside=$("$built/casemate" run --stats -- "${program[@]}")
echo "$inside"
if [[ $inside != "$native" ]]; then
  echo 'demo: the program said something else inside' >&2
  exit 1
fi
