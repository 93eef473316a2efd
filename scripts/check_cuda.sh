#!/usr/bin/env bash
# Type-checks the CUDA build on a machine without CUDA: a stand-in for nvcc writes empty files where the build scripts
# of candle's kernels expect compiled ones, so nothing that comes out of this can run. Then checks our own kernels on the
# CPU, and runs what scripts/build_cuda.sh built, if it did, on a CPU stand-in for the CUDA libraries. Takes a few minutes
# the first time.
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
# what the build scripts would ask nvcc and nvidia-smi: CUDA 13.0, compute capability 8.0
NVCC=$stand_in/nvcc CUDARC_CUDA_VERSION=13000 CUDA_COMPUTE_CAP=80 \
  cargo clippy --release --locked --features cuda --all-targets --target-dir target/cuda-check -- -D warnings
scripts/check_kernels.sh
tests=target/cuda-build/gpu/tests
if [ ! -x $tests ]; then
  echo "not run: the tests on a CPU stand-in for the CUDA libraries (scripts/build_cuda.sh builds them)"
  exit
fi
scripts/cuda_stand_in.sh "$stand_in/libraries"
for case in CUDA_STAND_IN_NO_FMA=0 CUDA_STAND_IN_NO_FMA=1 CUDA_STAND_IN_OLD_NVRTC=1 CUDA_STAND_IN_NO_FUSED=1 CUDA_STAND_IN_NO_FUSED=nan; do
  echo "tests/cuda.rs on the stand-in, $case"
  env $case FOOLPROOF_EXPECT_CUDA=1 FOOLPROOF_CUDA_LIBS="$stand_in/libraries" $tests --test-threads 1
done
