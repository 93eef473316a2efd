#!/usr/bin/env bash
# Builds the wheel: the program, and the module in python/. It goes to target/wheels, and its path is printed.
# usage: scripts/wheel.sh [BINARY]
#   BINARY  packs this program; without it cargo builds one, and compiles nothing where target/release is fresh
# maturin is that of the PATH, else of target/python (scripts/python_for_tests.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "${CARGO_TARGET_DIR:-target}/wheels"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)
maturin=$(command -v maturin || true)
maturin=${maturin:-$target/python/bin/maturin}
# maturin packs the licence that it finds beside pyproject.toml
cp LICENSE python/LICENSE
work=$(mktemp -d)
trap 'rm -rf "$work" python/LICENSE' EXIT

if [ $# -gt 0 ]; then
  # What stands before cargo says that this program is what was built. So nothing is compiled twice, whatever features it
  # was built with; and symbols, a tenth of it, stay out.
  cp "$1" "$work/foolproof"
  strip "$work/foolproof" || true
  cat > "$work/message.json" << JSON
{"reason": "compiler-artifact", "package_id": "$(cargo pkgid --locked)", "manifest_path": "$PWD/Cargo.toml",
"target": {"kind": ["bin"], "crate_types": ["bin"], "name": "foolproof", "src_path": "$PWD/src/main.rs", "edition": "2024",
"doc": true, "doctest": false, "test": true}, "profile": {"opt_level": "3", "debuginfo": 0, "debug_assertions": false,
"overflow_checks": false, "test": false}, "features": [], "filenames": ["$work/foolproof"], "executable": "$work/foolproof",
"fresh": true}
JSON
  cat > "$work/cargo" << CARGO
#!/usr/bin/env bash
case \$1 in
  # a message is a line
  rustc) tr '\n' ' ' < "$work/message.json" && echo ;;
  # of this platform alone, or cargo would download what others need
  metadata) exec "$(command -v cargo)" "\$@" --filter-platform "$(rustc -vV | sed -n 's/^host: //p')" ;;
  *) exec "$(command -v cargo)" "\$@" ;;
esac
CARGO
  chmod +x "$work/cargo"
  # in a test `CARGO` names the cargo that runs it
  export PATH=$work:$PATH CARGO=$work/cargo
fi
(cd python && "$maturin" build --release --locked --compression-level 9 --out "$target/wheels") >&2
ls -t "$target"/wheels/foolproof-*.whl | head -1
