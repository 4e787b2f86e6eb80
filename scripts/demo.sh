#!/usr/bin/env bash
# What the guard does, in one minute, on a real container. `make demo` has installed and built what it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${CARGO_TARGET_DIR:-target}/release/lab" demo "$@"
