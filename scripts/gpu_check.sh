#!/usr/bin/env bash
# To be run on a machine with a GPU, on what scripts/build_cuda.sh made: the engine against its reference, a sweep on both
# devices, the timings against PyTorch. Needs the CUDA libraries, from PyTorch's wheels or the system.
# usage: scripts/gpu_check.sh [FOLDER [OUT]]; folder of foolproof, worker and tests, and a folder for what is measured
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-target/cuda-build/gpu}
out=${2:-$(mktemp -d)}
mkdir -p "$out"

packages=$(python3 -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
for d in "$packages"/nvidia/*/lib /usr/local/nvidia/lib64 /usr/local/cuda/lib64; do
  if [ -d "$d" ]; then LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$d; fi
done
export LD_LIBRARY_PATH
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader

echo '== against the reference'
"$folder/tests" --nocapture --test-threads 1 2>&1 | tee "$out/tests.txt"
if grep -q '^skipped' "$out/tests.txt"; then echo 'no device was opened'; exit 1; fi

echo '== a sweep on each device'
for setting in 'cpu f32' 'cuda f32' 'cuda tf32' 'cuda bf16'; do
  read -r device precision <<< "$setting"
  sed "s/^\[\[sweep\]\]/&\nprecision = \"$precision\"/" configs/sweeps/pgd.toml > "$out/$precision.toml"
  began=$SECONDS
  "$folder/foolproof" --config "$out/$precision.toml" --device "$device" --quiet \
    --out "$out/$device-$precision" > "$out/$device-$precision.txt"
  echo "$setting: $((SECONDS - began)) s"
done
python3 - "$out" << 'COMPARE'
import csv, pathlib, sys

def standing(name):
    """Cell to the number of images that stand, from the summary of a run."""
    table = pathlib.Path(sys.argv[1], name, "pgd/tables/summary.csv")
    key = ("model", "attack", "params", "eps")
    return {tuple(row[k] for k in key): int(row["robust_correct"]) for row in csv.DictReader(table.open())}

cpu, wrong = standing("cpu-f32"), False
for name in ("cuda-f32", "cuda-tf32", "cuda-bf16"):
    other = standing(name)
    off = [abs(other[cell] - cpu[cell]) for cell in cpu]
    print(f"{name}: {len(off)} cells of 20 images, {sum(v > 0 for v in off)} differ from the CPU, by {max(off)} at most")
    # rounding may tip an image near the boundary, and short formats a few; more is a fault
    wrong |= max(off) > (1 if name == "cuda-f32" else 3)
sys.exit(wrong)
COMPARE

echo '== gradients of VGG16 at 224, seconds a pass'
for precision in f32 tf32 bf16; do
  for batch in 64 256; do
    printf 'load vgg16 224\ngradient %s 20\nforward %s 20\n' $batch $batch |
      "$folder/worker" --device cuda --precision "$precision" | tail -n 2 | paste -sd' ' | sed "s/^/$precision $batch: /"
  done
done

if python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  python3 scripts/bench_pytorch.py gpu --worker "$folder/worker" --rounds 5 --out "$out/gpu.json"
fi
