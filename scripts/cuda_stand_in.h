// What the parts of the CPU stand-in for CUDA share; see cuda_stand_in.sh.
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>

// What the program finds by dlsym.
#define API extern "C" __attribute__((visibility("default")))

namespace stand_in {
// One thread of a kernel: takes its arguments from where cuLaunchKernel has them.
using Thread = void (*)(void** arguments);

struct Kernel {
  const char* name;
  Thread thread;
  bool barriers;  // its threads must run as fibers
};

// The kernels of one source, compiled for the CPU.
struct Table {
  const char *source, *source_end;  // the text as it was built; of candle's there is none
  const char* define;               // the -D that selects it among the tables of one source, or none
  const Kernel* kernels;
  size_t count;
  void (*run)(const Kernel&, unsigned blocks, unsigned threads, void** arguments);
  Table* next;
};
extern Table* tables;

// The arguments of a kernel have the types of its own signature, so nothing is written down twice.
template <class... Types, size_t... I>
inline void call(void (*kernel)(Types...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<std::remove_const_t<Types>*>(arguments[I])...);
}
template <class... Types>
inline void call(void (*kernel)(Types...), void** arguments) {
  call(kernel, arguments, std::index_sequence_for<Types...>());
}

// Held by everything that runs on "the device" or changes what is there.
extern std::recursive_mutex& gate;

// Whether the calling thread has a current context.
bool has_context();

// Counts one launch in the log.
void count(const std::string& name);

// The number in an environment variable.
size_t number(const char* name, size_t otherwise);

// bfloat16, to nearest, ties to even; NaN stays NaN.
inline uint16_t to_bf16(float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, 4);
  if (v != v) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline float from_bf16(uint16_t v) {
  uint32_t bits = (uint32_t)v << 16;
  float f;
  __builtin_memcpy(&f, &bits, 4);
  return f;
}
}  // namespace stand_in
