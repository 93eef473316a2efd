#!/usr/bin/env bash
# Builds what scripts/gpu_visit.sh takes to a machine with a GPU and packs it into target/cuda-build/gpu.tar.xz: the
# program, the worker, the tests; and what the CPU computes, to be compared there.
# usage: scripts/gpu_pack.sh [--no-build]; --no-build packs the binaries that are there
set -euo pipefail
cd "$(dirname "$0")/.."
folder=target/cuda-build/gpu
pack=target/cuda-build/gpu.tar.xz
most=$((45 << 20))
if [ "${1:-}" != --no-build ]; then scripts/build_cuda.sh; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/reference"
echo 'what the CPU computes'
"$folder/foolproof" --device cpu --config configs/sweeps/pgd.toml --quiet --out "$work/out" > /dev/null
cp "$work/out/pgd/tables/summary.csv" "$work/reference/summary.csv"
rm -r "$work/out"
for net in 'vgg11-half 32' 'resnet50 32' 'vgg16 224' 'resnet50 224' 'wrn-28-10 32'; do
  printf 'load %s\ncheck %s\n' "$net" "$work/reference/${net/ /-}" | "$folder/worker" > /dev/null
done
for name in foolproof tests worker; do strip -o "$work/$name" "$folder/$name"; done

echo 'packing'
tar -C "$work" -cf - foolproof tests worker reference | xz -9e -T1 > "$pack"
(cd "$work" && find . -type f -printf '%P\n' | sort | while read -r name; do
  printf '%12d bytes, as xz about %9d: %s\n' "$(stat -c %s "$name")" "$(xz -2 -T1 -c "$name" | wc -c)" "$name"
done)
size=$(stat -c %s "$pack")
# tracked and untracked files travel too, and all together may have 64 MiB
tree=$(git ls-files -z --cached --others --exclude-standard | xargs -0 stat -c %s 2> /dev/null | awk '{s += $1} END {print s}')
printf '%12d bytes: %s\n%12d bytes: the working tree\n' "$size" "$pack" "$tree"
if [ "$size" -gt "$most" ]; then echo "$pack has more than $((most >> 20)) MiB" >&2 && exit 1; fi
if [ $((size + tree)) -gt $((64 << 20)) ]; then echo 'pack and working tree have more than 64 MiB' >&2 && exit 1; fi
echo "carry:  $pack"
echo 'first:  scripts/gpu_visit.sh A 2>&1   # 540 s at most'
echo 'then:   scripts/gpu_visit.sh B 2>&1   # 300 s at most; --tests NAME,… runs failed ones again, --parts … chooses'
