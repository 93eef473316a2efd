#!/usr/bin/env bash
# Makes target/python, a virtual environment with the huggingface_hub that tests/hub_python.rs holds our cache against.
# Without Python or a network there is none, and that test is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${CARGO_TARGET_DIR:-target}/python
version=2.4.0
if "$folder/bin/python" -c "import huggingface_hub as h; assert h.__version__ == '$version'" 2> /dev/null; then exit; fi
mkdir -p "$(dirname "$folder")"
python3 -m venv --clear "$folder"
"$folder/bin/python" -m pip install -q --disable-pip-version-check --retries 1 --timeout 15 "huggingface_hub==$version"
