#!/usr/bin/env bash
# Checks the kernels in src/kernel/cuda without a GPU: those of kernels.cu by a C++ program, thread by thread, against naive
# versions; those of pixels.cu by tests/pixels.rs against the host's, to the bit; all under the sanitizers. And where
# scripts/build_cuda.sh has installed nvcc, they are compiled to machine code for sm_80 and sm_90.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nvcc=target/cuda-root/nvidia/cu13/bin/nvcc
# a fiber's stack is none that the sanitizer knows
known() { grep -v -e 'ASan is ignoring' -e 'False positive' -e 'issues/189'; }
for precision in F32 BF16; do
  c++ -std=c++17 -O1 -Wall -Wextra -Wno-sign-compare -fsanitize=address,undefined -D$precision \
    -fno-sanitize-recover=all -I src/kernel/cuda -I scripts scripts/check_kernels.cpp -o "$work/check"
  "$work/check" 2> >(known >&2)
done
FOOLPROOF_SANITIZE=1 cargo test --release --locked --test pixels 2> >(known >&2)
if [ -x $nvcc ]; then
  for arch in sm_80 sm_90; do
    $nvcc -arch=$arch -cubin -DF32 -o "$work/kernels.cubin" src/kernel/cuda/kernels.cu
    $nvcc -arch=$arch -cubin -DBF16 -o "$work/kernels.cubin" src/kernel/cuda/kernels.cu
    $nvcc -arch=$arch -cubin --fmad=false -o "$work/kernels.cubin" src/kernel/cuda/pixels.cu
    echo "compiled for $arch"
  done
fi
