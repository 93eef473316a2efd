#!/usr/bin/env bash
# Tries a program, and packs it into target/release-files for a release: NAME.tar.gz (on Windows NAME.zip).
# usage: scripts/release.sh NAME BINARY; `try` as NAME packs nothing
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
binary=$2
if [ ! -f "$binary" ] && [ -f "$binary.exe" ]; then binary=$binary.exe; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# a whole run, what it claims, and its outcomes image by image: on any CPU those of the baseline
"$binary" --version
"$binary" --config configs/sweeps/pgd.toml --out "$work/runs" --quiet | sed -n 1p
"$binary" verify pgd --out "$work/runs" --quiet
"$binary" compare results/baselines/pgd.jsonl pgd --out "$work/runs" --fail-on regressed
if [ "$name" = try ]; then exit; fi

mkdir -p "$work/$name" target/release-files
cp "$binary" LICENSE README.md CHANGELOG.md "$work/$name/"
case $binary in
  *.exe) (cd "$work" && 7z a -bso0 "$name.zip" "$name") && mv "$work/$name.zip" target/release-files/ ;;
  *)
    # symbols are a tenth of it; on macOS stripping would break the signature
    if [ "$(uname)" = Linux ]; then strip "$work/$name/$(basename "$binary")"; fi
    tar -C "$work" -czf "target/release-files/$name.tar.gz" "$name"
    ;;
esac
ls -l target/release-files
