#!/usr/bin/env bash
# Checks src/kernel/cuda/kernels.cu without a GPU: a C++ program runs every kernel, thread by thread, against a naive
# version; and where scripts/build_cuda.sh has installed nvcc, both precisions are compiled to machine code for sm_90.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nvcc=target/cuda-root/nvidia/cu13/bin/nvcc
for precision in F32 BF16; do
  c++ -std=c++17 -O1 -Wall -Wextra -Wno-sign-compare -fsanitize=address,undefined -D$precision \
    -I src/kernel/cuda scripts/check_kernels.cpp -o "$work/check"
  "$work/check"
  if [ -x $nvcc ]; then
    $nvcc -arch=sm_90 -cubin -D$precision -o "$work/kernels.cubin" src/kernel/cuda/kernels.cu
    echo "$precision: compiled for sm_90"
  fi
done
