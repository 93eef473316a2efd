// The driver, NVRTC and cuRAND of the CPU stand-in for CUDA; see cuda_stand_in.sh. Everything is done before a call
// returns. Checks what the real ones check, and what they would only notice by crashing.
#include "cuda_stand_in.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <sys/mman.h>
#include <vector>

namespace stand_in {
Table* tables;
std::recursive_mutex& gate = *new std::recursive_mutex;
}  // namespace stand_in
using namespace stand_in;
using Guard = std::lock_guard<std::recursive_mutex>;

enum Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_SUPPORTED = 801,
};
using Pointer = unsigned long long;

struct Context { int device; };
struct Stream { Context* context; };
struct Event {
  bool has_time;
  std::chrono::steady_clock::time_point at;
  bool recorded;
};
struct Module { std::string text; };
struct Function { const Kernel* kernel; const Table* table; };

static bool initialised;
static Context contexts[64];
static thread_local Context* current;
// never destroyed: threads of the program may outlive this library's own destructors
static auto& streams = *new std::set<const void*>;
static auto& events = *new std::set<const void*>;
static auto& memory = *new std::map<Pointer, size_t>;  // allocations and their bytes
static size_t used, peak;

struct Log {
  std::map<std::string, size_t> launches;
  size_t htod_bytes = 0, htod_calls = 0, dtoh_bytes = 0, dtoh_calls = 0, dtod_bytes = 0;
};
static Log& counted = *new Log;

size_t stand_in::number(const char* name, size_t otherwise) {
  const char* text = getenv(name);
  return text && *text ? strtoull(text, nullptr, 10) : otherwise;
}

bool stand_in::has_context() { return current != nullptr; }

void stand_in::count(const std::string& name) { counted.launches[name]++; }

static size_t devices() {
  static const size_t n = number("CUDA_STAND_IN_DEVICES", 1);
  return n;
}

static size_t capacity() {
  static const size_t bytes = number("CUDA_STAND_IN_MEMORY", (size_t)8 << 30);
  return bytes;
}

__attribute__((destructor)) static void write_log() {
  const char* path = getenv("CUDA_STAND_IN_LOG");
  FILE* file = path ? fopen(path, "a") : nullptr;
  if (!file) return;
  const Log& l = counted;
  fprintf(file, "{\"htod_bytes\":%zu,\"htod_calls\":%zu,\"dtoh_bytes\":%zu,\"dtoh_calls\":%zu,", l.htod_bytes,
          l.htod_calls, l.dtoh_bytes, l.dtoh_calls);
  fprintf(file, "\"dtod_bytes\":%zu,\"launches\":{", l.dtod_bytes);
  const char* between = "";
  for (const auto& [name, n] : l.launches) fprintf(file, "%s\"%s\":%zu", between, name.c_str(), n), between = ",";
  fprintf(file, "},\"peak_bytes\":%zu}\n", peak);
  fclose(file);
}

#define NEED_CONTEXT \
  if (!initialised) return NOT_INITIALIZED; \
  if (!current) return INVALID_CONTEXT; \
  Guard guard(gate)
#define NEED(condition, otherwise) \
  if (!(condition)) return otherwise

// --- devices and contexts

API Result cuInit(unsigned flags) {
  NEED(flags == 0, INVALID_VALUE);
  NEED(devices(), NO_DEVICE);
  initialised = true;
  return SUCCESS;
}

API Result cuDriverGetVersion(int* version) { return *version = number("CUDA_STAND_IN_DRIVER", 13000), SUCCESS; }

API Result cuDeviceGetCount(int* count) {
  NEED(initialised, NOT_INITIALIZED);
  return *count = (int)devices(), SUCCESS;
}

API Result cuDeviceGet(int* device, int ordinal) {
  NEED(initialised, NOT_INITIALIZED);
  NEED(ordinal >= 0 && (size_t)ordinal < devices(), INVALID_DEVICE);
  return *device = ordinal, SUCCESS;
}

API Result cuDeviceGetName(char* name, int room, int) {
  return snprintf(name, room, "CPU stand-in for CUDA"), SUCCESS;
}

API Result cuDeviceGetUuid_v2(char* uuid, int device) { return memset(uuid, device, 16), SUCCESS; }
API Result cuDeviceGetUuid(char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
API Result cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = capacity(), SUCCESS; }

API Result cuDeviceGetAttribute(int* value, int attribute, int) {
  // threads a block, warp, processors, threads a processor, capability, memory pools
  static const int card = number("CUDA_STAND_IN_CAPABILITY", 90);
  static const std::map<int, int> known = {{1, 1024},  {10, 32},        {16, 132}, {39, 2048},
                                           {75, card / 10}, {76, card % 10}, {115, 1}};
  auto found = known.find(attribute);
  return *value = found == known.end() ? 0 : found->second, SUCCESS;
}

API Result cuDevicePrimaryCtxRetain(Context** context, int device) {
  NEED(initialised, NOT_INITIALIZED);
  NEED(device >= 0 && (size_t)device < devices(), INVALID_DEVICE);
  contexts[device].device = device;
  return *context = &contexts[device], SUCCESS;
}

API Result cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
API Result cuCtxSetCurrent(Context* context) { return current = context, SUCCESS; }
API Result cuCtxGetCurrent(Context** context) {
  NEED(initialised, NOT_INITIALIZED);
  return *context = current, SUCCESS;
}
API Result cuCtxGetDevice(int* device) {
  NEED_CONTEXT;
  return *device = current->device, SUCCESS;
}
API Result cuCtxSynchronize() {
  NEED_CONTEXT;
  return SUCCESS;
}
API Result cuCtxSetFlags(unsigned) {
  NEED_CONTEXT;
  return SUCCESS;
}

API Result cuGetErrorName(Result error, const char** name) {
  switch (error) {
#define NAME(n) \
  case n: return *name = "CUDA_ERROR_" #n, SUCCESS
    NAME(INVALID_VALUE);
    NAME(OUT_OF_MEMORY);
    NAME(NOT_INITIALIZED);
    NAME(NO_DEVICE);
    NAME(INVALID_DEVICE);
    NAME(INVALID_IMAGE);
    NAME(INVALID_CONTEXT);
    NAME(INVALID_HANDLE);
    NAME(NOT_FOUND);
    NAME(NOT_SUPPORTED);
    case SUCCESS: return *name = "CUDA_SUCCESS", SUCCESS;
  }
  return INVALID_VALUE;
}
API Result cuGetErrorString(Result error, const char** text) {
  if (error == OUT_OF_MEMORY) return *text = "out of memory", SUCCESS;
  if (error == NO_DEVICE) return *text = "no CUDA-capable device is detected", SUCCESS;
  return cuGetErrorName(error, text);
}

// --- streams and events

static bool is_stream(const void* stream) { return (uintptr_t)stream <= 2 || streams.count(stream); }

// the context of a stream; of the default ones, the thread's
#define NEED_STREAM(stream) \
  NEED_CONTEXT; \
  NEED(is_stream(stream), INVALID_HANDLE); \
  NEED((uintptr_t)stream <= 2 || static_cast<Stream*>(stream)->context == current, INVALID_CONTEXT)

API Result cuStreamCreate(void** stream, unsigned) {
  NEED_CONTEXT;
  streams.insert(*stream = new Stream{current});
  return SUCCESS;
}
API Result cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }
API Result cuStreamDestroy_v2(void* stream) {
  NEED_CONTEXT;
  NEED(streams.erase(stream), INVALID_HANDLE);
  delete static_cast<Stream*>(stream);
  return SUCCESS;
}
API Result cuStreamSynchronize(void* stream) {
  NEED_STREAM(stream);
  return SUCCESS;
}
API Result cuStreamIsCapturing(void* stream, int* status) {
  NEED_STREAM(stream);
  return *status = 0, SUCCESS;
}

API Result cuEventCreate(Event** event, unsigned flags) {
  NEED_CONTEXT;
  events.insert(*event = new Event{!(flags & 2), {}, false});
  return SUCCESS;
}
API Result cuEventDestroy_v2(Event* event) {
  NEED_CONTEXT;
  NEED(events.erase(event), INVALID_HANDLE);
  delete event;
  return SUCCESS;
}
API Result cuEventRecord(Event* event, void* stream) {
  NEED_STREAM(stream);
  NEED(events.count(event), INVALID_HANDLE);
  event->at = std::chrono::steady_clock::now(), event->recorded = true;
  return SUCCESS;
}
API Result cuEventQuery(Event* event) {
  NEED_CONTEXT;
  return events.count(event) ? SUCCESS : INVALID_HANDLE;
}
API Result cuEventSynchronize(Event* event) { return cuEventQuery(event); }
API Result cuStreamWaitEvent(void* stream, Event* event, unsigned) {
  NEED_STREAM(stream);
  return events.count(event) ? SUCCESS : INVALID_HANDLE;
}
API Result cuEventElapsedTime_v2(float* ms, Event* from, Event* to) {
  NEED_CONTEXT;
  for (Event* e : {from, to}) NEED(events.count(e) && e->has_time && e->recorded, INVALID_HANDLE);
  *ms = std::chrono::duration<float, std::milli>(to->at - from->at).count();
  return SUCCESS;
}
API Result cuEventElapsedTime(float* ms, Event* from, Event* to) { return cuEventElapsedTime_v2(ms, from, to); }

// --- memory

API Result cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  NEED_CONTEXT;
  NEED(bytes, INVALID_VALUE);
  void* block;
  NEED(bytes <= capacity() - used && posix_memalign(&block, 256, bytes) == 0, OUT_OF_MEMORY);
  // NaN, in f32 and bf16; a large block is left as it is, so that it costs nothing where it is not used
  if (bytes <= 4 << 20) memset(block, 0xff, bytes);
  memory[*pointer = (Pointer)block] = bytes;
  used += bytes, peak = std::max(peak, used);
  return SUCCESS;
}
API Result cuMemAllocAsync(Pointer* pointer, size_t bytes, void* stream) {
  NEED_STREAM(stream);
  return cuMemAlloc_v2(pointer, bytes);
}
API Result cuMemFree_v2(Pointer pointer) {
  NEED_CONTEXT;
  auto found = memory.find(pointer);
  NEED(found != memory.end(), INVALID_VALUE);
  used -= found->second;
  memory.erase(found);
  free((void*)pointer);
  return SUCCESS;
}
API Result cuMemFreeAsync(Pointer pointer, void* stream) {
  NEED_STREAM(stream);
  return cuMemFree_v2(pointer);
}
API Result cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
  NEED_CONTEXT;
  *total = capacity(), *free_bytes = *total - used;
  return SUCCESS;
}
API Result cuMemHostAlloc(void** block, size_t bytes, unsigned) {
  NEED_CONTEXT;
  return (*block = malloc(bytes)) ? SUCCESS : OUT_OF_MEMORY;
}
API Result cuMemFreeHost(void* block) {
  NEED_CONTEXT;
  return free(block), SUCCESS;
}

API Result cuDeviceGetDefaultMemPool(void** pool, int) { return *pool = &memory, SUCCESS; }
API Result cuDeviceGetMemPool(void** pool, int) { return *pool = &memory, SUCCESS; }
API Result cuMemPoolSetAttribute(void* pool, int, void*) { return pool == &memory ? SUCCESS : INVALID_VALUE; }
API Result cuMemPoolGetAttribute(void* pool, int, void* value) {
  NEED(pool == &memory, INVALID_VALUE);
  return *(uint64_t*)value = used, SUCCESS;
}
API Result cuMemPoolTrimTo(void* pool, size_t) { return pool == &memory ? SUCCESS : INVALID_VALUE; }

// Whether the bytes lie in one allocation.
static bool is_there(Pointer pointer, size_t bytes) {
  auto after = memory.upper_bound(pointer);
  if (after == memory.begin()) return false;
  auto found = std::prev(after);
  return pointer + bytes <= found->first + found->second;
}

API Result cuMemsetD8Async(Pointer pointer, unsigned char value, size_t bytes, void* stream) {
  NEED_STREAM(stream);
  NEED(is_there(pointer, bytes), INVALID_VALUE);
  // fresh pages are zeros and cost nothing until they are used
  Pointer first = (pointer + 4095) & ~4095ull, last = (pointer + bytes) & ~4095ull;
  if (value == 0 && last > first + (1 << 20) && madvise((void*)first, last - first, MADV_DONTNEED) == 0) {
    memset((void*)pointer, 0, first - pointer);
    memset((void*)last, 0, pointer + bytes - last);
  } else {
    memset((void*)pointer, value, bytes);
  }
  return SUCCESS;
}
API Result cuMemsetD8_v2(Pointer pointer, unsigned char value, size_t bytes) {
  return cuMemsetD8Async(pointer, value, bytes, nullptr);
}

API Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, void* stream) {
  NEED_STREAM(stream);
  NEED(is_there(to, bytes), INVALID_VALUE);
  counted.htod_bytes += bytes, counted.htod_calls++;
  return memcpy((void*)to, from, bytes), SUCCESS;
}
API Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, void* stream) {
  NEED_STREAM(stream);
  NEED(is_there(from, bytes), INVALID_VALUE);
  counted.dtoh_bytes += bytes, counted.dtoh_calls++;
  return memcpy(to, (void*)from, bytes), SUCCESS;
}
API Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void* stream) {
  NEED_STREAM(stream);
  NEED(is_there(from, bytes) && is_there(to, bytes), INVALID_VALUE);
  counted.dtod_bytes += bytes;
  return memcpy((void*)to, (void*)from, bytes), SUCCESS;
}
API Result cuMemcpyHtoD_v2(Pointer to, const void* from, size_t n) {
  return cuMemcpyHtoDAsync_v2(to, from, n, nullptr);
}
API Result cuMemcpyDtoH_v2(void* to, Pointer from, size_t n) {
  return cuMemcpyDtoHAsync_v2(to, from, n, nullptr);
}
API Result cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t n) {
  return cuMemcpyDtoDAsync_v2(to, from, n, nullptr);
}

// --- modules and kernels

// What NVRTC here gives for PTX: this, and the number of a table. Anything else is taken for candle's PTX.
static const char OURS[] = "stand-in table ";

API Result cuModuleLoadData(Module** module, const char* text) {
  NEED_CONTEXT;
  NEED(!strncmp(text, OURS, strlen(OURS)) || strstr(text, ".entry"), INVALID_IMAGE);
  return *module = new Module{text}, SUCCESS;
}
API Result cuModuleUnload(Module* module) {
  NEED_CONTEXT;
  return delete module, SUCCESS;
}

API Result cuModuleGetFunction(Function** function, Module* module, const char* name) {
  NEED_CONTEXT;
  const std::string& text = module->text;
  const Table* table = tables;
  if (text.rfind(OURS, 0) == 0) {
    for (int skip = atoi(text.c_str() + strlen(OURS)); skip; skip--) table = table->next;
  } else {
    NEED(text.find(std::string(".entry ") + name + "(") != std::string::npos, NOT_FOUND);
    while (table->source) table = table->next;
  }
  for (size_t i = 0; i < table->count; i++) {
    // never freed: few, and the program may keep them
    const Kernel* kernel = &table->kernels[i];
    if (!strcmp(kernel->name, name)) return *function = new Function{kernel, table}, SUCCESS;
  }
  static std::set<std::string> told;
  if (told.insert(name).second) fprintf(stderr, "stand-in: no kernel %s\n", name);
  return NOT_FOUND;
}

API Result cuFuncSetAttribute(Function*, int, int) { return SUCCESS; }
API Result cuFuncGetAttribute(int* value, int, Function*) { return *value = 1024, SUCCESS; }

API Result cuLaunchKernel(Function* function, unsigned blocks, unsigned blocks_y, unsigned blocks_z, unsigned threads,
                          unsigned threads_y, unsigned threads_z, unsigned, void* stream, void** arguments,
                          void** extra) {
  NEED_STREAM(stream);
  NEED(blocks && blocks <= 0x7fffffff && threads && threads <= 1024 && !extra, INVALID_VALUE);
  NEED(blocks_y == 1 && blocks_z == 1 && threads_y == 1 && threads_z == 1, NOT_SUPPORTED);
  count(function->kernel->name);
  function->table->run(*function->kernel, blocks, threads, arguments);
  return SUCCESS;
}

// --- NVRTC: finds the table that was made of the same text

struct Program { std::string source, log, ptx; bool is_machine_code = false; };
enum { NVRTC_INVALID_OPTION = 5, NVRTC_COMPILATION = 6 };

API int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 0, 0; }
API int nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char**, const char**) {
  return *program = new Program{source, "", ""}, 0;
}
API int nvrtcDestroyProgram(Program** program) { return delete *program, *program = nullptr, 0; }

API int nvrtcCompileProgram(Program* program, int count, const char** options) {
  std::set<std::string> defined;
  std::string architecture;
  for (int i = 0; i < count; i++) {
    std::string option = options[i];
    if (option.rfind("--gpu-architecture=", 0) == 0) architecture = option.substr(19);
    else if (option.rfind("-D", 0) == 0) defined.insert(option.substr(2));
    else if (option != "--fmad=false" && option != "--fmad=true" && option.rfind("--std=c++", 0) != 0) {
      program->log = "stand-in: unknown option " + option;
      return NVRTC_INVALID_OPTION;
    }
  }
  // an NVRTC older than the card knows no machine code for it
  bool is_old = number("CUDA_STAND_IN_OLD_NVRTC", 0);
  program->is_machine_code = architecture == "sm_90" && !is_old;
  if (!program->is_machine_code && architecture != "compute_80" && (is_old || architecture != "compute_90")) {
    program->log = "stand-in: no code for " + architecture + " on this device";
    return NVRTC_INVALID_OPTION;
  }
  int place = 0;
  for (Table* t = tables; t; t = t->next, place++) {
    if (!t->source || program->source != std::string(t->source, t->source_end)) continue;
    if (*t->define ? defined == std::set<std::string>{t->define} : defined.empty()) {
      program->ptx = OURS + std::to_string(place);
      return 0;
    }
  }
  program->log = "stand-in: it was built of other sources, or not for these macros; run cuda_stand_in.sh again";
  fprintf(stderr, "%s\n", program->log.c_str());
  return NVRTC_COMPILATION;
}

API int nvrtcGetPTXSize(Program* program, size_t* size) { return *size = program->ptx.size() + 1, 0; }
API int nvrtcGetPTX(Program* program, char* ptx) { return strcpy(ptx, program->ptx.c_str()), 0; }
API int nvrtcGetCUBINSize(Program* program, size_t* size) {
  return *size = program->is_machine_code ? program->ptx.size() + 1 : 0, 0;
}
API int nvrtcGetCUBIN(Program* program, char* code) {
  return program->is_machine_code ? nvrtcGetPTX(program, code) : NVRTC_INVALID_OPTION;
}
API int nvrtcGetProgramLogSize(Program* program, size_t* size) { return *size = program->log.size() + 1, 0; }
API int nvrtcGetProgramLog(Program* program, char* log) { return strcpy(log, program->log.c_str()), 0; }
API const char* nvrtcGetErrorString(int error) { return error ? "NVRTC_ERROR" : "NVRTC_SUCCESS"; }

// --- cuRAND: candle makes a generator, nothing uses it

API int curandCreateGenerator(void** generator, int) { return has_context() ? *generator = new char, 0 : 101; }
API int curandDestroyGenerator(void* generator) { return delete static_cast<char*>(generator), 0; }
API int curandSetStream(void*, void*) { return 0; }
API int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) { return 0; }
API int curandSetGeneratorOffset(void*, unsigned long long) { return 0; }
