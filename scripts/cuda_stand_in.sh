#!/usr/bin/env bash
# Builds a CPU stand-in for the CUDA libraries, so that the program with the CUDA engine runs on a machine without a
# GPU:
#   scripts/cuda_stand_in.sh /tmp/stand-in
#   LD_LIBRARY_PATH=/tmp/stand-in target/cuda-build/gpu/tests --nocapture --test-threads 1
# Device memory is host memory, kernels run on the CPU from their own sources (ours in src/kernel/cuda, candle's in
# cargo's registry), cuBLAS and cuDNN are what cuda_stand_in_math.cpp has. It says what the real ones say to a wrong
# call, and offers what they may offer: algorithms of another arithmetic, undeterministic ones, ones that fail.
# To be built anew when a kernel changes; NVRTC says so.
# usage: scripts/cuda_stand_in.sh DIR [--sanitize]; sanitized, run with LD_PRELOAD=$(c++ -print-file-name=libasan.so)
# and ASAN_OPTIONS=detect_leaks=0, and little memory. Environment of the program:
#   CUDA_STAND_IN_MEMORY=BYTES     what the device has (8 GiB)
#   CUDA_STAND_IN_DEVICES=N        devices (1)
#   CUDA_STAND_IN_CAPABILITY=75    what they can (90), and CUDA_STAND_IN_DRIVER=12080 what the driver is of (13000)
#   CUDA_STAND_IN_LOG=FILE         a line of JSON at the end: copies, launches, most memory
#   CUDA_STAND_IN_OLD_NVRTC=1      NVRTC writes no machine code for the device, only PTX of an older one
#   CUDA_STAND_IN_NO_FMA=1         cuDNN finds no algorithm of plain f32
#   CUDA_STAND_IN_NO_FUSED=1|nan   no bias and ReLU in a convolution | one whose ReLU makes 0 of NaN
# and of this script:
#   KERNELS=FOLDER                 our kernels, for a program of another version
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
to=$1
flags=(-std=c++17 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-sign-compare -Wno-unused-parameter -I "$root/scripts")
if [ "${2:-}" = --sanitize ]; then flags+=(-g -fsanitize=address,undefined -fno-omit-frame-pointer); fi
kernels=${KERNELS:-$root/src/kernel/cuda}
mkdir -p "$to/build"
build=$to/build

# those whose threads wait for each other
barriers='step_l2|membership|first_order|softmax|softmax_gradient|layer_norm|layer_norm_gradient'

# table NAME TEXT MACRO FLAG...: a file of kernels
table() {
  local name=$1 text=$2 macro=$3
  shift 3
  local flags=("${flags[@]}" "$@" "-DSOURCE=\"$build/source.cu\"" "-DSELECTED_BY=\"$macro\"" "-DNAMES=\"$build/names\"")
  if [ -n "$macro" ]; then flags+=("-D$macro"); fi
  sed -E 's/extern "C" __global__/KERNEL/' "$text" > "$build/source.cu"
  : > "$build/names"
  c++ "${flags[@]}" -DKERNEL=KERNEL -E -P "$root/scripts/cuda_stand_in_kernels.cpp" | tr '\n' ' ' \
    | grep -oE 'KERNEL +void +[a-z0-9_]+' | awk -v barriers="^($barriers)\$" \
      '{ printf "{\"%s\", thread<%s>, %s},\n", $3, $3, $3 ~ barriers ? "true" : "false" }' > "$build/names.new"
  mv "$build/names.new" "$build/names"
  # without -march=native: a product and a sum must not become one operation
  c++ "${flags[@]}" -O2 -c "$root/scripts/cuda_stand_in_kernels.cpp" -o "$build/$name.o"
  echo "$name: $(wc -l < "$build/names") kernels"
}

table f32 "$kernels/kernels.cu" '' "-DTEXT=\"$kernels/kernels.cu\""
table bf16 "$kernels/kernels.cu" BF16 "-DTEXT=\"$kernels/kernels.cu\""
if [ -f "$kernels/pixels.cu" ]; then table pixels "$kernels/pixels.cu" '' "-DTEXT=\"$kernels/pixels.cu\""; fi

# candle's, all in one; the headers of half precision are empty, as no kernel of ours needs it
candle=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/candle-kernels-0.11.1/src)
mkdir -p "$build/candle"
for f in {affine,binary,cast,conv,fill,indexing,ternary,unary}.cu binary_op_macros.cuh; do
  sed -E 's/extern "C" __global__/KERNEL/' "$candle/$f" > "$build/candle/$f"
done
(echo '#pragma once' && cat "$candle/cuda_utils.cuh") > "$build/candle/cuda_utils.cuh"
for f in compatibility.cuh cuda.h cuda_fp16.h cuda_bf16.h cuda_fp8.h; do : > "$build/candle/$f"; done
(cd "$build/candle" && printf '#include "%s"\n' *.cu) > "$build/candle.cu"
table candle "$build/candle.cu" '' -DCANDLE -I "$build/candle" -Wno-unused

c++ "${flags[@]}" -O2 -c "$root/scripts/cuda_stand_in.cpp" -o "$build/driver.o"
c++ "${flags[@]}" -O3 -march=native -c "$root/scripts/cuda_stand_in_math.cpp" -o "$build/math.o"
c++ "${flags[@]}" -shared "$build"/*.o -o "$to/libcuda.so.1"
for name in libcublasLt.so.13 libcublas.so.13 libcurand.so.10 libnvrtc.so.13 libcudnn.so.9; do
  ln -sf libcuda.so.1 "$to/$name"
done
