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
cat > "$out/sweep.toml" <<'SWEEP'
name = "gpu-check"
models = ["vgg11-half-cifar10"]

[data]
name = "cifar10-sample"
take = 64

[[attack]]
name = "pgd"
steps = 10
threats = [{ norm = "linf", eps = ["1/255", "4/255"] }]
SWEEP
successes() { # the table's lines, without what depends on the machine
  cat "$out/$1"/gpu-check/tables/*.csv
}
for setting in 'cpu f32' 'cuda f32' 'cuda tf32' 'cuda bf16'; do
  read -r device precision <<< "$setting"
  began=$(date +%s.%N)
  "$folder/foolproof" --config "$out/sweep.toml" --device "$device" --precision "$precision" --quiet \
    --out "$out/$device-$precision" > "$out/$device-$precision.txt"
  echo "$setting: $(echo "$(date +%s.%N) - $began" | bc) s"
  successes "$device-$precision"
done

echo '== gradients of VGG16 at 224, seconds a pass'
for precision in f32 tf32 bf16; do
  for batch in 64 256; do
    printf 'load vgg16 224\ngradient %s 5\ngradient %s 20\nforward %s 20\n' $batch $batch $batch |
      "$folder/worker" --device cuda --precision "$precision" | tail -n 2 | paste -sd' ' | sed "s/^/$precision $batch: /"
  done
done

if python3 -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null; then
  python3 scripts/bench_pytorch.py gpu --worker "$folder/worker" --rounds 5 --out "$out/gpu.json"
fi
