#!/usr/bin/env bash
# Builds the program with the CUDA engine on a machine without a GPU and without a CUDA toolkit: compiler, headers and
# the static CUDA runtime come from five pinned wheels (scripts/cuda-wheels.txt; 100 MB, 271 MB on disk). The program
# opens the other CUDA libraries when it runs, and computes on the CPU where there are none. It runs on cards from compute
# capability 8.0 on (A100, RTX 30 and later): the driver compiles its PTX for what there is.
# usage: scripts/build_cuda.sh [more cargo arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD/target/cuda-root
if [ ! -x "$root/nvidia/cu13/bin/nvcc" ]; then
  # 13.0: a driver of CUDA 13.0 (580) refuses the PTX of a newer nvcc
  python3 -m pip install -q --no-deps --only-binary=:all: --require-hashes --target "$root" -r scripts/cuda-wheels.txt
fi
# Stands before nvcc: the kernels of quantised models are most of the compile time and 35 MB of the program, and no
# code of ours reaches them; empty objects stand for them.
cat > "$root/nvcc-lite" <<'NVCC'
#!/usr/bin/env bash
set -eu
out=; skip=; prev=
for a in "$@"; do
  case $prev in -o) out=$a ;; esac
  case $a in *mmq_gguf/*.cu | *mmvq_gguf.cu | *moe/moe_*.cu) skip=1 ;; esac
  prev=$a
done
if [ -n "$skip" ] && [ -n "$out" ]; then
  echo 'static int empty_unit __attribute__((unused));' | cc -x c -c -o "$out" -
  exit
fi
exec "$CUDA_HOME/bin/nvcc" "$@"
NVCC
chmod +x "$root/nvcc-lite"
export CUDA_HOME=$root/nvidia/cu13 NVCC=$root/nvcc-lite
# what build scripts would ask nvcc on the PATH and nvidia-smi: CUDA 13.0, compute capability 8.0. Not 90: cudaforge makes
# sm_90a of that, whose PTX loads on Hopper alone
export CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-80}
cargo build --release --locked --features cuda --target-dir target/cuda-build --bins --test cuda --bench worker "$@"
# what scripts/gpu_pack.sh takes to the machine with the GPU, in one folder
release=target/cuda-build/release
mkdir -p target/cuda-build/gpu
newest() { find "$release/deps" -name "$1-*" -type f -executable -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2; }
strip -o target/cuda-build/gpu/foolproof "$release/foolproof"
strip -o target/cuda-build/gpu/worker "$(newest worker)"
strip -o target/cuda-build/gpu/tests "$(newest cuda)"
stat -c '%n: %s bytes' target/cuda-build/gpu/foolproof target/cuda-build/gpu/worker target/cuda-build/gpu/tests
# the PTX that the program holds loads from that capability on, and on no narrower family of cards
targets=$(grep -aoE '^\.target sm_[0-9]+[a-z]?' target/cuda-build/gpu/foolproof | sort | uniq -c)
echo "PTX in foolproof: ${targets:-none}"
if [ "$(echo "$targets" | grep -cE "sm_$CUDA_COMPUTE_CAP\$")" -ne "$(echo "$targets" | grep -c .)" ]; then
  echo "PTX for another target than sm_$CUDA_COMPUTE_CAP" >&2
  exit 1
fi
