#!/usr/bin/env bash
# Kills a running sweep with SIGKILL at random instants, resumes it each time, and compares the results to the byte
# with those of a run that nobody disturbed.
#
#   scripts/kill_test.sh [KILLS]        200 kills if not given
#
# Whenever the sweep completes before all kills are spent, its results are compared and it begins anew in an empty
# folder. Prints kills, completed sweeps, cells lost, cells counted twice, and sweeps whose results differ.
set -euo pipefail
cd "$(dirname "$0")/.."
kills=${1:-200}

cargo build --release --quiet
foolproof=$PWD/target/release/foolproof
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/sweep.toml" <<'TOML'
name = "kill"
[[sweep]]
models  = ["vgg11-half-cifar10", "vgg11-half-cifar10-robust"]
data    = { name = "cifar10-sample" }
goals   = ["untargeted", "target:next"]
threats = [{ norm = "linf", eps = ["2/255", "4/255", "8/255", "16/255"] }]
attacks = [{ name = "noise" }, { name = "fgsm" }, { name = "pgd", steps = 5, random_start = true }]
TOML
cells=48

sweep() { "$foolproof" --config "$work/sweep.toml" --quiet --out "$1"; }

# complete cells; half-written ones begin with a dot, which ls leaves out
complete() { ls "$work/run/kill/cells" 2> /dev/null | wc -l || true; }

# digests of everything below a run but provenance (times) and the lock
digests() { (cd "$1/kill" && find . -type f ! -name provenance.json ! -name lock | LC_ALL=C sort | xargs sha256sum); }

began=$(date +%s%N)
sweep "$work/whole" > /dev/null
duration_ms=$((($(date +%s%N) - began) / 1000000))
digests "$work/whole" > "$work/expected"

killed=0 too_late=0 rounds=0 lost=0 doubled=0 different=0
while ((killed < kills)); do
  rm -rf "$work/run"
  while ((killed < kills)); do
    before=$(complete)
    # no function here: the signal must hit the program itself, not a subshell around it
    "$foolproof" --config "$work/sweep.toml" --quiet --out "$work/run" > "$work/out" 2>&1 &
    pid=$!
    sleep "0.$(printf '%03d' $((RANDOM % (duration_ms / 4 + 1) % 1000)))"
    if kill -KILL $pid 2> /dev/null; then
      rc=0
      wait $pid 2> /dev/null || rc=$?
      case $rc in
        137) killed=$((killed + 1)) ;;
        0) too_late=$((too_late + 1)) ;;
        *) cat "$work/out"; exit 1 ;;
      esac
    fi
    # what was complete before is complete still
    after=$(complete)
    ((after >= before)) || lost=$((lost + before - after))
    ((after < cells)) || break
  done
  sweep "$work/run" > "$work/out" 2>&1
  rounds=$((rounds + 1))
  digests "$work/run" > "$work/found"
  cmp -s "$work/expected" "$work/found" || { different=$((different + 1)); diff "$work/expected" "$work/found" | head -5; }
  rows=$(tail -n +2 "$work/run/kill/tables/summary.csv" | cut -d, -f1)
  lost=$((lost + cells - $(sort -u <<< "$rows" | wc -l)))
  doubled=$((doubled + $(sort <<< "$rows" | uniq -d | wc -l)))
  "$foolproof" verify "$work/run/kill" --quiet > /dev/null || different=$((different + 1))
done
echo "$killed kills in $rounds sweeps of $cells cells: $lost cells lost, $doubled counted twice, $different sweeps differ"
((lost == 0 && doubled == 0 && different == 0))
