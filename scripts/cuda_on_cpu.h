// Runs CUDA kernels on the CPU, block after block: for scripts/check_kernels.cpp and scripts/cuda_stand_in.cpp.
//
// The threads of a block take turns as fibers: each runs until it is over or meets __syncthreads(), then the next. So
// the order is always the same, and shared memory can be a static variable. Thread 0 runs first; a kernel that forgets
// a barrier reads what a later thread has not written yet.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <setjmp.h>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __align__(n) alignas(n)
#define __launch_bounds__(threads)

struct Dim { unsigned x = 1; };
static Dim blockIdx, threadIdx, blockDim, gridDim;

[[maybe_unused]] static int min(int a, int b) { return b < a ? b : a; }
[[maybe_unused]] static int max(int a, int b) { return a < b ? b : a; }
[[maybe_unused]] static float __uint_as_float(unsigned v) { float f; memcpy(&f, &v, 4); return f; }
[[maybe_unused]] static unsigned __float_as_uint(float v) { unsigned u; memcpy(&u, &v, 4); return u; }

namespace fibers {
constexpr size_t STACK = 64 << 10;

// A fiber is entered once by its context, and from then on by jumps, which need no system call. It lives as long as the
// program and does the work of block after block.
struct Fiber {
  ucontext_t context;
  jmp_buf place;
  std::unique_ptr<char[]> stack{new char[STACK]};
  bool began = false, over = true;
};

static std::vector<Fiber> all;
static jmp_buf scheduler;
static std::function<void()> work;
static unsigned current;

static void pause() {
  unsigned me = current;
  if (!_setjmp(all[me].place)) _longjmp(scheduler, 1);
}

static void live() {
  for (;;) {
    work();
    all[current].over = true;
    pause();
  }
}

// Lets a fiber go on until it pauses.
static void resume(unsigned t) {
  Fiber& fiber = all[t];
  current = threadIdx.x = t;
  if (_setjmp(scheduler)) return;
  if (fiber.began) _longjmp(fiber.place, 1);
  fiber.began = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, live, 0);
  setcontext(&fiber.context);
}

static void run_block(unsigned threads) {
  if (all.size() < threads) all = std::vector<Fiber>(threads);
  for (unsigned t = 0; t < threads; t++) all[t].over = false;
  for (bool some = true; some;) {
    some = false;
    for (unsigned t = 0; t < threads; t++)
      if (!all[t].over) some = true, resume(t);
  }
}
}  // namespace fibers

[[maybe_unused]] static void __syncthreads() { fibers::pause(); }

// A kernel without barriers: its threads one after the other, in a plain loop.
template <class Kernel, class... Arguments>
static void run_plain(Kernel kernel, unsigned blocks, unsigned threads, Arguments... arguments) {
  gridDim.x = blocks, blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
    for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++) kernel(arguments...);
}

// A kernel with barriers.
template <class Kernel, class... Arguments>
static void run_with_barriers(Kernel kernel, unsigned blocks, unsigned threads, Arguments... arguments) {
  gridDim.x = blocks, blockDim.x = threads;
  fibers::work = [=] { kernel(arguments...); };
  for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) fibers::run_block(threads);
}
