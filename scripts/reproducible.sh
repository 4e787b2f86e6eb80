#!/bin/bash
# Builds the committed enclave in another clone, in another folder, and compares its measurement with this tree's.
#
#   scripts/reproducible.sh CASEMATE
set -euo pipefail

casemate=$1
here=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
there=$(mktemp --directory --tmpdir casemate-reproducible-XXXXXX)
trap 'rm -rf "$there"' EXIT

if [[ -n $(git -C "$here" status --porcelain -- Cargo.toml Cargo.lock crates/enclave crates/enclave-abi crates/sgx crates/host) ]]; then
  echo 'reproducible: the tree has changes that are not committed; a clone would not have them' >&2
  exit 1
fi
git clone --quiet "$here" "$there/some/other/folder"
CARGO_TARGET_DIR=$there/target cargo build --quiet --release --locked \
  --manifest-path "$there/some/other/folder/Cargo.toml" --package casemate-host --example measure

ours=$("$casemate" enclave measure)
theirs=$("$there/target/release/examples/measure")
echo "this tree:     $ours"
echo "another clone: $theirs"
if [[ $ours != "$theirs" ]]; then
  echo 'reproducible: the measurements differ' >&2
  exit 1
fi
echo 'reproducible: the same MRENCLAVE from two clones in two folders'
