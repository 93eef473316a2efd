#!/usr/bin/env bash
# Type-checks the CUDA build on a machine without CUDA: a stand-in for nvcc writes empty files where the build scripts
# of candle's kernels expect compiled ones, so nothing that comes out of this can run. Then checks our own kernels on the
# CPU. Takes a few minutes the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
stand_in=$(mktemp -d)
trap 'rm -rf "$stand_in"' EXIT
cat > "$stand_in/nvcc" <<'NVCC'
#!/usr/bin/env bash
set -eu
out=; dir=.; mode=; src=; prev=
for a in "$@"; do
  case $prev in -o) out=$a ;; --output-directory) dir=$a ;; esac
  case $a in
    --ptx) mode=ptx ;; --lib) mode=lib ;; -c) mode=obj ;; *.cu) src=$a ;;
    --version) echo 'Cuda compilation tools, release 13.0, V13.0.88'; exit ;;
  esac
  prev=$a
done
case $mode in
  ptx) : > "$dir/$(basename "${src%.cu}").ptx" ;;
  obj) echo 'static int empty_unit __attribute__((unused));' | cc -x c -c -o "$out" - ;;
  lib) printf '!<arch>\n' > "$out" ;;
esac
NVCC
chmod +x "$stand_in/nvcc"
# what the build scripts would ask nvcc and nvidia-smi: CUDA 13.0, compute capability 9.0
export NVCC=$stand_in/nvcc CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=90
cargo clippy --release --locked --features cuda --all-targets --target-dir target/cuda-check -- -D warnings
scripts/check_kernels.sh
