// The kernels of one source as a table. cuda_stand_in.sh compiles this once for each: SOURCE is the file, in which
// KERNEL stands for `extern "C" __global__`; TEXT is the file as it is; NAMES has a line a kernel; SELECTED_BY is the
// macro that makes it another precision, or "". With CANDLE, SOURCE is candle's kernels but for reduce.cu.
#include "cuda_on_cpu.h"
#include "cuda_stand_in.h"

// at file scope, so that the tables do not see each other; the script looks for the names before this is replaced
#ifndef KERNEL
#define KERNEL static
#endif

// Only in kernels that are marked in NAMES.
static bool as_fibers;
[[maybe_unused]] static void barrier() {
  if (!as_fibers) {
    fprintf(stderr, "stand-in: a barrier in a kernel that cuda_stand_in.sh does not list among those with barriers\n");
    abort();
  }
  __syncthreads();
}
#define __syncthreads barrier

#ifdef CANDLE
#include <algorithm>
#include <cassert>
#include <limits>
#define __host__
#define __forceinline__ inline
using std::isnan;
using std::max;
using std::min;
struct alignas(16) float4 { float x, y, z, w; };
// what templates name that nothing uses
struct __nv_fp8_e4m3 {
  unsigned char __x;
  __nv_fp8_e4m3(float) : __x(0) { abort(); }
};
#define __NV_E4M3 0
static float __half2float(int) { abort(); }
static int __nv_cvt_fp8_to_halfraw(int, int) { abort(); }
static double normcdf(double x) { return 0.5 * erfc(-x * M_SQRT1_2); }
static float normcdff(float x) { return (float)normcdf(x); }
#include SOURCE

// Of reduce.cu what is used, written anew, because fibers would be slow: a block a value that comes out. Thread 0 does
// what all threads do, in the order in which they do it, so that the bits are those of the GPU.
#define BLOCK(of_all) \
  if (!threadIdx.x) dst[blockIdx.x] = of_all
#define GIVEN numel, each, num_dims, info, src
#define REDUCED(T) size_t numel, size_t each, size_t num_dims, const size_t *info, const T *src
#define START size_t start = blockIdx.x * each, stop = min(start + each, numel), threads = blockDim.x

template <class T>
static T element(size_t i, size_t num_dims, const size_t* info, const T* src) {
  return src[get_strided_index(i, num_dims, info, info + num_dims)];
}

template <class T, class Join>
static T reduced(REDUCED(T), T begin, Join join) {
  START;
  std::vector<T> shared(threads, begin);
  for (size_t i = start; i < stop; i++) {
    T& mine = shared[(i - start) % threads];
    mine = join(mine, element(i, num_dims, info, src));
  }
  for (size_t s = threads / 2; s > 0; s /= 2)
    for (size_t t = 0; t < s; t++) shared[t] = join(shared[t], shared[t + s]);
  return shared[0];
}

// `better(a, b)`: a wins against b.
template <class T, class Better>
static uint32_t position(REDUCED(T), T begin, Better better) {
  START;
  std::vector<T> shared(threads, begin);
  std::vector<uint32_t> where(threads, 0xffffffff);
  for (size_t i = start; i < stop; i++) {
    size_t t = (i - start) % threads;
    T other = element(i, num_dims, info, src);
    if (i < start + threads || better(other, shared[t])) shared[t] = other, where[t] = i % info[num_dims - 1];
  }
  for (size_t s = threads / 2; s > 0; s /= 2)
    for (size_t t = 0; t < s; t++)
      if (better(shared[t + s], shared[t])) shared[t] = shared[t + s], where[t] = where[t + s];
  return where[0];
}

// The sum of a warp's 32 numbers by shuffles.
static float of_warp(float* v) {
  for (int offset = 16; offset > 0; offset /= 2)
    for (int lane = 0; lane < offset; lane++) v[lane] += v[lane + offset];
  return v[0];
}

KERNEL void fast_sum_f32(REDUCED(float), float* dst) {
  if (threadIdx.x) return;
  START;
  float of_thread[1024] = {}, of_warps[32] = {};
  if (is_contiguous(num_dims, info, info + num_dims)) {
    size_t first = (start + 3) / 4, last = stop / 4, head = min(first * 4, stop);
    for (size_t i = start; i < head; i++) of_thread[(i - start) % threads] += src[i];
    if (first < last && is_aligned_16(src))
      for (size_t v = first; v < last; v++)
        of_thread[(v - first) % threads] += src[4 * v] + src[4 * v + 1] + src[4 * v + 2] + src[4 * v + 3];
    else
      for (size_t i = head; i < last * 4; i++) of_thread[(i - head) % threads] += src[i];
    for (size_t i = last * 4; i < stop; i++) of_thread[(i - last * 4) % threads] += src[i];
  } else {
    for (size_t i = start; i < stop; i++) of_thread[(i - start) % threads] += element(i, num_dims, info, src);
  }
  for (size_t w = 0; w < threads / 32; w++) of_warps[w] = of_warp(of_thread + 32 * w);
  dst[blockIdx.x] = of_warp(of_warps);
}

#define SUM(T, NAME) \
  KERNEL void fast_sum_##NAME(REDUCED(T), T* dst) { \
    BLOCK(reduced<T>(GIVEN, 0, [](T a, T b) { return (T)(a + b); })); \
  }
SUM(double, f64) SUM(uint8_t, u8) SUM(uint32_t, u32) SUM(int64_t, i64)

#define LEAST(T) (std::numeric_limits<T>::has_infinity ? (T)-INFINITY : std::numeric_limits<T>::lowest())
#define MOST(T) (std::numeric_limits<T>::has_infinity ? (T)INFINITY : std::numeric_limits<T>::max())
#define REDUCTIONS(T, NAME) \
  KERNEL void fast_max_##NAME(REDUCED(T), T* dst) { \
    BLOCK(reduced(GIVEN, LEAST(T), [](T a, T b) { return maxg(a, b); })); \
  } \
  KERNEL void fast_min_##NAME(REDUCED(T), T* dst) { \
    BLOCK(reduced(GIVEN, MOST(T), [](T a, T b) { return ming(a, b); })); \
  } \
  KERNEL void fast_argmax_##NAME(REDUCED(T), uint32_t* dst) { \
    BLOCK(position(GIVEN, LEAST(T), [](T a, T b) { return a > b; })); \
  } \
  KERNEL void fast_argmin_##NAME(REDUCED(T), uint32_t* dst) { \
    BLOCK(position(GIVEN, MOST(T), [](T a, T b) { return a < b; })); \
  } \
  /* of few values, one thread a value that comes out */ \
  KERNEL void fast_sum_small_##NAME(REDUCED(T), T* dst) { \
    size_t to = blockIdx.x * blockDim.x + threadIdx.x; \
    if (to >= numel) return; \
    T sum = 0; \
    for (size_t i = 0; i < each; i++) sum += element(to * each + i, num_dims, info, src); \
    dst[to] = sum; \
  }
REDUCTIONS(float, f32) REDUCTIONS(double, f64)
REDUCTIONS(uint8_t, u8) REDUCTIONS(uint32_t, u32) REDUCTIONS(int64_t, i64)
#else
#undef __device__
#define __device__ [[maybe_unused]] static
#include SOURCE
#endif

template <auto kernel>
static void thread(void** arguments) {
  stand_in::call(kernel, arguments);
}

static const stand_in::Kernel kernels[] = {
#include NAMES
};

#ifdef TEXT
__asm__(".section .rodata\nsource_begin:\n.incbin \"" TEXT "\"\nsource_end:\n.byte 0\n.text\n");
extern const char source_begin[] __asm__("source_begin") __attribute__((visibility("hidden")));
extern const char source_end[] __asm__("source_end") __attribute__((visibility("hidden")));
#else
static const char *source_begin, *source_end;
#endif

static void run(const stand_in::Kernel& kernel, unsigned blocks, unsigned threads, void** arguments) {
  as_fibers = kernel.barriers;
  // of a type of this file alone, so that each table has these templates with its own blockIdx
  auto one = [&] { kernel.thread(arguments); };
  if (kernel.barriers) run_with_barriers(one, blocks, threads);
  else run_plain(one, blocks, threads);
}

static stand_in::Table table{source_begin, source_end, SELECTED_BY, kernels, std::size(kernels), run, nullptr};
static const bool registered = (table.next = stand_in::tables, stand_in::tables = &table, true);
