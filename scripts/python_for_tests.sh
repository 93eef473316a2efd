#!/usr/bin/env bash
# Makes target/python, a virtual environment with what tests and scripts/wheel.sh use of Python
# (scripts/python_for_tests.txt). Without Python or a network there is none, and those tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${CARGO_TARGET_DIR:-target}/python
wanted=scripts/python_for_tests.txt
if cmp -s "$wanted" "$folder/made-from"; then exit; fi
mkdir -p "$(dirname "$folder")"
python3 -m venv --clear "$folder"
"$folder/bin/python" -m pip install -q --disable-pip-version-check --retries 1 --timeout 15 -r "$wanted"
cp "$wanted" "$folder/made-from"
