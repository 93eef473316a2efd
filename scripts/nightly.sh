#!/usr/bin/env bash
# One night: runs a sweep from nothing, holds it against its baseline, writes what was found.
#
#   scripts/nightly.sh [SWEEP]       configs/sweeps/pgd.toml if not given
#
# NIGHT      folder of the night, which must not exist: the run, and gate.md, gate.xml (JUnit), gate.json;
#            default results/nightly/<UTC time>
# BASELINES  folder of baselines; default results/baselines
# FAIL_ON    rules of `compare --fail-on`; default regressed,changed
# BENCHES    1: also `cargo bench --bench kernel`, held against benches.jsonl: benches.md, .xml, .json
# SLURM      1: also `scripts/slurm_test.sh`, which starts a Slurm of its own and kills all that can be killed: slurm.txt
# FOOLPROOF  the program; default: built by cargo
#
# Without a baseline the night passes and says how to bless it. Ends with the program's exit code: 3 where the gate fails,
# else 2 where cells failed, else 0; 1 or 130 at once where the sweep did not run to its end.
set -euo pipefail
cd "$(dirname "$0")/.."
sweep=${1:-configs/sweeps/pgd.toml}
night=${NIGHT:-results/nightly/$(date -u +%Y-%m-%dT%H%M%SZ)}
baselines=${BASELINES:-results/baselines}
fail_on=${FAIL_ON:-regressed,changed}

if [ -e "$night" ]; then
    echo "$night exists: a night begins with nothing, or old cells would be compared (choose another NIGHT)" >&2
    exit 1
fi
if [ -z "${FOOLPROOF:-}" ]; then
    cargo build --release --locked
    FOOLPROOF=${CARGO_TARGET_DIR:-target}/release/foolproof
fi

# gate BASELINE RUN FILES: compares where there is a baseline; returns the program's exit code
gate() {
    if [ -f "$1" ]; then
        "$FOOLPROOF" compare "$1" "$2" --fail-on "$fail_on" \
            --markdown "$night/$3.md" --junit "$night/$3.xml" --json "$night/$3.json"
    else
        echo "no baseline $1: if this night is as it should be, bless and commit it:
    $FOOLPROOF bless $2 --to $baselines && git add $1" | tee "$night/$3.md"
    fi
}

# a gate that failed is what a night ends with, whatever comes after
worse() { [ "$status" = 3 ] || status=$1; }

mkdir -p "$night"
status=0
"$FOOLPROOF" --config "$sweep" --out "$night" || status=$?
# 2: some cells failed, which the comparison names
[ "$status" = 0 ] || [ "$status" = 2 ] || exit "$status"
for plan in "$night"/*/plan.json; do run=$(dirname "$plan"); done
gate "$baselines/$(basename "$run").jsonl" "$run" gate || worse $?
if [ "${BENCHES:-0}" = 1 ]; then
    cargo bench --locked --bench kernel
    gate "$baselines/benches.jsonl" "${CARGO_TARGET_DIR:-target}/criterion" benches || worse $?
fi
if [ "${SLURM:-0}" = 1 ]; then
    FOOLPROOF=$FOOLPROOF scripts/slurm_test.sh > "$night/slurm.txt" || worse 3
    cat "$night/slurm.txt"
fi
exit "$status"
