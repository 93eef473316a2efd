// cuBLAS and cuDNN of the CPU stand-in for CUDA; see cuda_stand_in.sh. Sums are f32. Where f32 may go through tensor
// cores, the operands are rounded to TF32 as there, so that a test notices the wrong arithmetic.
#include "cuda_stand_in.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

using namespace stand_in;
using Guard = std::lock_guard<std::recursive_mutex>;

// How the numbers in memory are to be read.
enum Read { F32, TF32, BF16 };

static float tf32(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if (std::isfinite(v)) bits = (bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu;
  memcpy(&v, &bits, 4);
  return v;
}

static float get(Read read, const void* p, size_t i) {
  if (read == BF16) return from_bf16(((const uint16_t*)p)[i]);
  float v = ((const float*)p)[i];
  return read == TF32 ? tf32(v) : v;
}

static void put(Read read, void* p, size_t i, float v) {
  if (read == BF16) ((uint16_t*)p)[i] = to_bf16(v);
  else ((float*)p)[i] = v;
}

// c (m×n) = a (m×k) · b (k×n), all by rows: tiles of 8×16 values, each summed from left to right.
static void multiply(size_t m, size_t n, size_t k, const float* a, const float* b, float* c) {
  typedef float Sixteen __attribute__((vector_size(64)));
  std::vector<float> panel(k * 16 + 16);
  auto* columns = (Sixteen*)(((uintptr_t)panel.data() + 63) & ~(uintptr_t)63);
  for (size_t j = 0; j < n; j += 16) {
    size_t width = std::min(n - j, (size_t)16);
    for (size_t p = 0; p < k; p++)
      for (size_t q = 0; q < 16; q++) columns[p][q] = q < width ? b[p * n + j + q] : 0;
    for (size_t i = 0; i < m; i += 8) {
      const float* rows[8];
      for (size_t r = 0; r < 8; r++) rows[r] = a + std::min(i + r, m - 1) * k;
      Sixteen sums[8] = {};
      for (size_t p = 0; p < k; p++)
        for (size_t r = 0; r < 8; r++) sums[r] += rows[r][p] * columns[p];
      for (size_t r = 0; r < 8 && i + r < m; r++) memcpy(c + (i + r) * n + j, &sums[r], width * sizeof(float));
    }
  }
}

// --- cuBLAS

struct Blas { int unused; };
enum { BLAS_NOT_INITIALIZED = 1, BLAS_INVALID_VALUE = 7, BLAS_NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, COMPUTE_32F_FAST_16BF = 75, COMPUTE_32F_FAST_TF32 = 77 };

API int cublasCreate_v2(Blas** blas) { return has_context() ? *blas = new Blas, 0 : BLAS_NOT_INITIALIZED; }
API int cublasDestroy_v2(Blas* blas) { return delete blas, 0; }
API int cublasSetStream_v2(Blas* blas, void*) { return blas ? 0 : BLAS_NOT_INITIALIZED; }
API int cublasSetMathMode(Blas* blas, int) { return blas ? 0 : BLAS_NOT_INITIALIZED; }
API int cublasSetWorkspace_v2(Blas* blas, void*, size_t) { return blas ? 0 : BLAS_NOT_INITIALIZED; }

API int cublasGemmStridedBatchedEx(Blas* blas, int transa, int transb, int m, int n, int k, const float* alpha,
                                   const char* a, int atype, int lda, long long stride_a, const char* b, int btype,
                                   int ldb, long long stride_b, const float* beta, char* c, int ctype, int ldc,
                                   long long stride_c, int batch, int compute, int) {
  if (!blas || !has_context()) return BLAS_NOT_INITIALIZED;
  if (m < 0 || n < 0 || k < 0 || batch < 0 || !alpha || !beta || !a || !b || !c) return BLAS_INVALID_VALUE;
  if (lda < std::max(1, transa ? k : m) || ldb < std::max(1, transb ? n : k) || ldc < std::max(1, m))
    return BLAS_INVALID_VALUE;
  bool known = compute == COMPUTE_32F || compute == COMPUTE_32F_FAST_TF32 || compute == COMPUTE_32F_FAST_16BF;
  if (!known || atype != btype || atype != ctype || (atype != R_32F && atype != R_16BF)) return BLAS_NOT_SUPPORTED;
  Guard guard(gate);
  count("cublasGemmEx");
  Read read = atype == R_16BF ? BF16 : compute == COMPUTE_32F ? F32 : TF32;
  size_t bytes = read == BF16 ? 2 : 4;
  std::vector<float> left((size_t)n * k), right((size_t)k * m), out((size_t)n * m);
  for (; batch > 0; batch--, a += stride_a * bytes, b += stride_b * bytes, c += stride_c * bytes) {
    // columns first: our rows are its columns, so the factors change places
    for (size_t j = 0; j < (size_t)n; j++)
      for (size_t p = 0; p < (size_t)k; p++) left[j * k + p] = get(read, b, transb ? p * ldb + j : j * ldb + p);
    for (size_t i = 0; i < (size_t)m; i++)
      for (size_t p = 0; p < (size_t)k; p++) right[p * m + i] = get(read, a, transa ? i * lda + p : p * lda + i);
    multiply(n, m, k, left.data(), right.data(), out.data());
    for (size_t j = 0; j < (size_t)n; j++)
      for (size_t i = 0; i < (size_t)m; i++) {
        float old = *beta == 0 ? 0 : *beta * get(read == TF32 ? F32 : read, c, j * ldc + i);
        put(read, c, j * ldc + i, *alpha * out[j * m + i] + old);
      }
  }
  return 0;
}

API int cublasGemmEx(Blas* blas, int transa, int transb, int m, int n, int k, const float* alpha, const char* a,
                     int atype, int lda, const char* b, int btype, int ldb, const float* beta, char* c, int ctype,
                     int ldc, int compute, int algorithm) {
  return cublasGemmStridedBatchedEx(blas, transa, transb, m, n, k, alpha, a, atype, lda, 0, b, btype, ldb, 0, beta, c,
                                    ctype, ldc, 0, 1, compute, algorithm);
}

// --- cuDNN: descriptors

enum Status {
  OK = 0,
  DNN_NOT_INITIALIZED = 1001,
  BAD_PARAM = 2000,
  DNN_NOT_SUPPORTED = 3000,
  DEVICE_ALLOCATION_FAILED = 4004,
};
enum { NCHW = 0, NHWC = 1, FLOAT = 0, BFLOAT16 = 9, RELU = 1, IDENTITY = 5, CROSS_CORRELATION = 1 };
enum Math { DEFAULT_MATH, TENSOR_OP_MATH, TENSOR_OP_MATH_ALLOW_CONVERSION, FMA_MATH };

struct Dnn { int unused; };
struct Tensor {
  int type = -1, n, c, h, w;
  long strides[4];  // in the order of the sizes
  size_t at(long in, long ic, long ih, long iw) const {
    return in * strides[0] + ic * strides[1] + ih * strides[2] + iw * strides[3];
  }
};
struct Filter { int type = -1, format, k, c, r, s; };
struct Convolution { int pad[2], stride[2], dilation[2], mode, type = -1, math = DEFAULT_MATH, groups = 1; };
struct Activation { int mode = -1, nan; double limit; };

API Status cudnnCreate(Dnn** dnn) { return has_context() ? *dnn = new Dnn, OK : DNN_NOT_INITIALIZED; }
API Status cudnnDestroy(Dnn* dnn) { return has_context() ? delete dnn, OK : DNN_NOT_INITIALIZED; }
API Status cudnnSetStream(Dnn* dnn, void*) { return dnn && has_context() ? OK : BAD_PARAM; }
API size_t cudnnGetVersion() { return 92100; }
API const char* cudnnGetErrorString(Status status) { return status ? "CUDNN_STATUS_…" : "CUDNN_STATUS_SUCCESS"; }

#define DESCRIPTOR(Type, Name) \
  API Status cudnnCreate##Name##Descriptor(Type** d) { return *d = new Type, OK; } \
  API Status cudnnDestroy##Name##Descriptor(Type* d) { return delete d, OK; }
DESCRIPTOR(Tensor, Tensor)
DESCRIPTOR(Filter, Filter)
DESCRIPTOR(Convolution, Convolution)
DESCRIPTOR(Activation, Activation)

static bool is_known(int type) { return type == FLOAT || type == BFLOAT16; }

API Status cudnnSetTensor4dDescriptorEx(Tensor* d, int type, int n, int c, int h, int w, int sn, int sc, int sh,
                                        int sw) {
  if (!d || !is_known(type) || std::min({n, c, h, w}) <= 0) return BAD_PARAM;
  // values are counted with 31 bits
  if ((double)n * c * h * w > 0x7fffffff) return DNN_NOT_SUPPORTED;
  *d = Tensor{type, n, c, h, w, {sn, sc, sh, sw}};
  return OK;
}
API Status cudnnSetTensor4dDescriptor(Tensor* d, int format, int type, int n, int c, int h, int w) {
  if (format == NHWC) return cudnnSetTensor4dDescriptorEx(d, type, n, c, h, w, h * w * c, 1, w * c, c);
  if (format == NCHW) return cudnnSetTensor4dDescriptorEx(d, type, n, c, h, w, c * h * w, h * w, w, 1);
  return BAD_PARAM;
}
API Status cudnnSetFilter4dDescriptor(Filter* d, int type, int format, int k, int c, int r, int s) {
  if (!d || !is_known(type) || (format != NHWC && format != NCHW) || std::min({k, c, r, s}) <= 0) return BAD_PARAM;
  *d = Filter{type, format, k, c, r, s};
  return OK;
}
API Status cudnnSetConvolution2dDescriptor(Convolution* d, int pad_h, int pad_w, int stride_h, int stride_w,
                                           int dilation_h, int dilation_w, int mode, int type) {
  if (!d || std::min(pad_h, pad_w) < 0 || std::min({stride_h, stride_w, dilation_h, dilation_w}) <= 0) return BAD_PARAM;
  if (type != FLOAT || mode != CROSS_CORRELATION) return DNN_NOT_SUPPORTED;
  *d = Convolution{{pad_h, pad_w}, {stride_h, stride_w}, {dilation_h, dilation_w}, mode, type};
  return OK;
}
API Status cudnnSetConvolutionMathType(Convolution* d, int math) {
  if (!d || math < 0 || math > FMA_MATH) return BAD_PARAM;
  return d->math = math, OK;
}
API Status cudnnGetConvolutionMathType(Convolution* d, int* math) { return d ? *math = d->math, OK : BAD_PARAM; }
API Status cudnnSetConvolutionGroupCount(Convolution* d, int groups) {
  if (!d || groups < 1) return BAD_PARAM;
  return d->groups = groups, OK;
}
API Status cudnnSetActivationDescriptor(Activation* d, int mode, int nan, double limit) {
  if (!d) return BAD_PARAM;
  *d = Activation{mode, nan, limit};
  return OK;
}

// --- cuDNN: which algorithms there are, what each needs

enum Direction { FORWARD, DATA };

// of either direction, and what it does here
enum Kind { SLOW, USUAL, WINOGRAD, UNSURE, ABSENT, GREEDY };
static Kind kind_of(Direction direction, int algorithm) {
  // implicit GEMM, implicit precomputed GEMM, GEMM, direct, FFT, FFT with tiles, Winograd, the same not fused
  static const Kind forward[] = {SLOW, USUAL, ABSENT, ABSENT, ABSENT, GREEDY, WINOGRAD, UNSURE};
  // 0 (not deterministic), 1, FFT, FFT with tiles, Winograd, the same not fused
  static const Kind data[] = {UNSURE, USUAL, ABSENT, GREEDY, WINOGRAD, SLOW};
  size_t n = direction == FORWARD ? std::size(forward) : std::size(data);
  return algorithm < 0 || (size_t)algorithm >= n ? ABSENT : direction == FORWARD ? forward[algorithm] : data[algorithm];
}

static bool fits(const Tensor* x, const Filter* w, const Convolution* d, const Tensor* y) {
  if (!x || !w || !d || !y || x->type < 0 || w->type != x->type || y->type != x->type || d->type < 0) return false;
  auto out = [&](int axis, int side, int taps) {
    return (side + 2 * d->pad[axis] - d->dilation[axis] * (taps - 1) - 1) / d->stride[axis] + 1;
  };
  bool channels = w->c * d->groups == x->c && w->k == y->c && w->k % d->groups == 0;
  return y->n == x->n && channels && y->h == out(0, x->h, w->r) && y->w == out(1, x->w, w->s);
}

// bfloat16 has no way without tensor cores, groups none back where taps lie apart.
static bool can(Direction direction, const Tensor* x, const Convolution* d, int math) {
  if (direction == DATA && d->groups > 1 && std::max(d->dilation[0], d->dilation[1]) > 1) return false;
  return x->type != BFLOAT16 || math != FMA_MATH;
}

// Bytes of workspace, more without tensor cores.
static size_t needed(Kind kind, const Tensor* y, int math) {
  size_t map = (size_t)y->n * y->c * y->h * y->w * 4;
  if (kind == GREEDY) return (size_t)1 << 40;
  return 4096 * (1 + kind) + (math == FMA_MATH ? 65536 + map : y->type == BFLOAT16 ? map / 16 : 0);
}

struct Measured {
  int algorithm;
  Status status;
  float ms;
  size_t bytes;
  int is_deterministic, math, reserved[3];
};

// By time, those that failed last.
static Status find(Direction direction, const Tensor* x, const Filter* w, const Convolution* d, const Tensor* y,
                   int asked, int* found, Measured* rows, size_t room) {
  if (!has_context()) return DNN_NOT_INITIALIZED;
  if (!fits(x, w, d, y) || asked <= 0 || !found || !rows) return BAD_PARAM;
  static const bool no_fma = number("CUDA_STAND_IN_NO_FMA", 0);
  std::vector<int> maths;
  if (can(direction, x, d, DEFAULT_MATH)) maths.push_back(DEFAULT_MATH);
  bool is_there = can(direction, x, d, d->math) && !(no_fma && d->math == FMA_MATH);
  if (d->math != DEFAULT_MATH && is_there) maths.push_back(d->math);
  double work = 2e-9 * y->n * y->h * y->w * w->k * w->c * w->r * w->s;
  // so that each way back is the faster one somewhere
  if (direction == DATA) work *= x->c >= y->c ? 0.9 : 1.1;
  // and with groups now cuDNN, now a kernel of the program
  if (d->groups > 1) work *= w->r % 2 && d->groups % 2 ? 1e9 : 1e-9;
  std::vector<Measured> all;
  for (int algorithm = 0; algorithm < (direction == FORWARD ? 8 : 6); algorithm++)
    for (int math : maths) {
      Kind kind = kind_of(direction, algorithm);
      size_t bytes = needed(kind, y, math);
      double slow = kind == UNSURE ? 0.5 : kind == USUAL ? 1 : kind == WINOGRAD ? 1.5 : 4;
      Measured row{algorithm, OK, (float)(work * slow * (math == FMA_MATH ? 3 : 1)), bytes, kind != UNSURE, math, {}};
      if (kind == ABSENT) row.status = DNN_NOT_SUPPORTED, row.bytes = 0;
      else if (bytes > room) row.status = DEVICE_ALLOCATION_FAILED;
      if (row.status) row.ms = -1;
      all.push_back(row);
    }
  std::stable_sort(all.begin(), all.end(), [](const Measured& a, const Measured& b) {
    return a.status != b.status ? a.status < b.status : a.ms < b.ms;
  });
  *found = std::min(asked, (int)all.size());
  std::copy_n(all.begin(), *found, rows);
  return OK;
}

// What was measured wrote there.
static void spoil(const Tensor* t, void* data) {
  memset(data, 0xff, (size_t)t->n * t->c * t->h * t->w * (t->type == BFLOAT16 ? 2 : 4));
}

API Status cudnnFindConvolutionForwardAlgorithmEx(Dnn* dnn, Tensor* xd, const void* x, Filter* wd, const void* w,
                                                  Convolution* d, Tensor* yd, void* y, int asked, int* found,
                                                  Measured* rows, void* space, size_t room) {
  if (!dnn || !x || !w || !y || (room && !space)) return BAD_PARAM;
  Guard guard(gate);
  count("cudnnFindConvolutionForwardAlgorithmEx");
  Status status = find(FORWARD, xd, wd, d, yd, asked, found, rows, room);
  if (status == OK) spoil(yd, y);
  return status;
}

API Status cudnnFindConvolutionBackwardDataAlgorithmEx(Dnn* dnn, Filter* wd, const void* w, Tensor* dyd, const void* dy,
                                                       Convolution* d, Tensor* dxd, void* dx, int asked, int* found,
                                                       Measured* rows, void* space, size_t room) {
  if (!dnn || !w || !dy || !dx || (room && !space)) return BAD_PARAM;
  Guard guard(gate);
  count("cudnnFindConvolutionBackwardDataAlgorithmEx");
  Status status = find(DATA, dxd, wd, d, dyd, asked, found, rows, room);
  if (status == OK) spoil(dxd, dx);
  return status;
}

static Status workspace_size(Direction direction, const Tensor* x, const Filter* w, const Convolution* d,
                             const Tensor* y, int algorithm, size_t* bytes) {
  if (!fits(x, w, d, y) || !bytes) return BAD_PARAM;
  Kind kind = kind_of(direction, algorithm);
  if (kind == ABSENT || kind == GREEDY || !can(direction, x, d, d->math)) return DNN_NOT_SUPPORTED;
  return *bytes = needed(kind, y, d->math), OK;
}
API Status cudnnGetConvolutionForwardWorkspaceSize(Dnn* dnn, Tensor* x, Filter* w, Convolution* d, Tensor* y,
                                                   int algorithm, size_t* bytes) {
  return dnn ? workspace_size(FORWARD, x, w, d, y, algorithm, bytes) : BAD_PARAM;
}
API Status cudnnGetConvolutionBackwardDataWorkspaceSize(Dnn* dnn, Filter* w, Tensor* dy, Convolution* d, Tensor* dx,
                                                        int algorithm, size_t* bytes) {
  return dnn ? workspace_size(DATA, dx, w, d, dy, algorithm, bytes) : BAD_PARAM;
}
API Status cudnnGetConvolutionForwardAlgorithmMaxCount(Dnn*, int* count) { return *count = 8, OK; }
API Status cudnnGetConvolutionBackwardDataAlgorithmMaxCount(Dnn*, int* count) { return *count = 6, OK; }

// --- cuDNN: convolutions

// What all three check before they run. Fills the workspace, which may be read or written.
static Status ready(Direction direction, const Tensor* x, const Filter* w, const Convolution* d, const Tensor* y,
                    int algorithm, void* space, size_t room) {
  if (!has_context()) return DNN_NOT_INITIALIZED;
  size_t bytes;
  Status status = workspace_size(direction, x, w, d, y, algorithm, &bytes);
  if (status) return status;
  if (room < bytes || !space) return BAD_PARAM;
  memset(space, 0xff, bytes);
  return OK;
}

static Read read_of(const Tensor* x, const Convolution* d) {
  return x->type == BFLOAT16 ? BF16 : d->math == FMA_MATH ? F32 : TF32;
}

// Of one group (r, s, c) × k, or k × (r, s, c).
static std::vector<float> weights(const Filter* w, const void* data, Read read, bool k_first, size_t first,
                                  size_t count) {
  size_t taps = (size_t)w->r * w->s * w->c;
  std::vector<float> out(count * taps);
  for (size_t k = 0; k < count; k++)
    for (size_t t = 0; t < taps; t++) {
      size_t tap = t / w->c, c = t % w->c, row = first + k;
      size_t from = w->format == NHWC ? row * taps + t : (row * w->c + c) * w->r * w->s + tap;
      out[k_first ? k * taps + t : t * count + k] = get(read, data, from);
    }
  return out;
}

// Calls `visit(tap, row, column)` for the taps of output pixel `p` that lie within x.
template <class Visit>
static void each_tap(const Tensor* x, const Filter* w, const Convolution* d, const Tensor* y, size_t p, Visit visit) {
  long row = (long)(p / y->w) * d->stride[0] - d->pad[0], column = (long)(p % y->w) * d->stride[1] - d->pad[1];
  for (long r = 0; r < w->r; r++)
    for (long s = 0; s < w->s; s++) {
      long h = row + r * d->dilation[0], v = column + s * d->dilation[1];
      if (h >= 0 && h < x->h && v >= 0 && v < x->w) visit(r * w->s + s, h, v);
    }
}

// Output pixels that are computed together.
constexpr size_t PIXELS = 1024;

// A kernel that is not deterministic gives other numbers each time.
static float unsure(Direction direction, int algorithm) {
  static int times;
  return kind_of(direction, algorithm) == UNSURE ? 1 + 0.01f * (++times % 7) : 1;
}

// `finish(n, k, h, w, sum)` for every value of y.
template <class Finish>
static void forward(const Tensor* xd, const void* x, const Filter* wd, const void* w, const Convolution* d,
                    const Tensor* yd, float factor, Finish finish) {
  Read read = read_of(xd, d);
  size_t taps = (size_t)wd->r * wd->s * wd->c, pixels = (size_t)yd->h * yd->w, each = wd->k / d->groups;
  std::vector<float> patches(PIXELS * taps), out(PIXELS * each);
  for (int g = 0; g < d->groups; g++) {
    std::vector<float> filter = weights(wd, w, read, false, g * each, each);
    for (int n = 0; n < yd->n; n++)
      for (size_t first = 0; first < pixels; first += PIXELS) {
        size_t count = std::min(PIXELS, pixels - first);
        std::fill(patches.begin(), patches.end(), 0.0f);
        for (size_t p = 0; p < count; p++)
          each_tap(xd, wd, d, yd, first + p, [&](size_t tap, long h, long v) {
            float* to = &patches[p * taps + tap * wd->c];
            for (int c = 0; c < wd->c; c++) to[c] = get(read, x, xd->at(n, g * wd->c + c, h, v));
          });
        multiply(count, each, taps, patches.data(), filter.data(), out.data());
        for (size_t p = 0; p < count; p++)
          for (size_t k = 0; k < each; k++)
            finish(n, g * each + k, (first + p) / yd->w, (first + p) % yd->w, factor * out[p * each + k]);
      }
  }
}

// alpha·value + beta·what was there
static void blend(const Tensor* t, void* data, size_t i, float value, float alpha, float beta) {
  Read read = t->type == BFLOAT16 ? BF16 : F32;
  put(read, data, i, alpha * value + (beta == 0 ? 0 : beta * get(read, data, i)));
}

API Status cudnnConvolutionForward(Dnn* dnn, const float* alpha, Tensor* xd, const void* x, Filter* wd, const void* w,
                                   Convolution* d, int algorithm, void* space, size_t room, const float* beta,
                                   Tensor* yd, void* y) {
  if (!dnn || !alpha || !beta || !x || !w || !y) return BAD_PARAM;
  Guard guard(gate);
  Status status = ready(FORWARD, xd, wd, d, yd, algorithm, space, room);
  if (status) return status;
  count("cudnnConvolutionForward");
  forward(xd, x, wd, w, d, yd, unsure(FORWARD, algorithm), [&](int n, int k, long h, long v, float sum) {
    blend(yd, y, yd->at(n, k, h, v), sum, *alpha, *beta);
  });
  return OK;
}

API Status cudnnConvolutionBiasActivationForward(Dnn* dnn, const float* alpha, Tensor* xd, const void* x, Filter* wd,
                                                 const void* w, Convolution* d, int algorithm, void* space, size_t room,
                                                 const float* alpha2, Tensor* zd, const void* z, Tensor* bd,
                                                 const void* bias, Activation* activation, Tensor* yd, void* y) {
  if (!dnn || !alpha || !alpha2 || !x || !w || !z || !bias || !y || !zd || !bd || !activation) return BAD_PARAM;
  const char* none = getenv("CUDA_STAND_IN_NO_FUSED");
  if (none && !strcmp(none, "1")) return DNN_NOT_SUPPORTED;
  bool drops_nan = activation->nan == 0 || (none && !strcmp(none, "nan"));
  Guard guard(gate);
  Status status = ready(FORWARD, xd, wd, d, yd, algorithm, space, room);
  if (status) return status;
  if (bd->n != 1 || bd->c != yd->c || bd->h != 1 || bd->w != 1 || bd->type != yd->type) return BAD_PARAM;
  if (zd->n != yd->n || zd->c != yd->c || zd->h != yd->h || zd->w != yd->w || zd->type != yd->type) return BAD_PARAM;
  // the identity goes with one algorithm only
  if (activation->mode != RELU && !(activation->mode == IDENTITY && algorithm == 1)) return DNN_NOT_SUPPORTED;
  count("cudnnConvolutionBiasActivationForward");
  Read read = yd->type == BFLOAT16 ? BF16 : F32;
  forward(xd, x, wd, w, d, yd, unsure(FORWARD, algorithm), [&](int n, int k, long h, long v, float sum) {
    float value = *alpha * sum + get(read, bias, bd->at(0, k, 0, 0));
    if (*alpha2 != 0) value += *alpha2 * get(read, z, zd->at(n, k, h, v));
    if (activation->mode == RELU && (value <= 0 || (drops_nan && value != value))) value = 0;
    put(read, y, yd->at(n, k, h, v), value);
  });
  return OK;
}

API Status cudnnConvolutionBackwardData(Dnn* dnn, const float* alpha, Filter* wd, const void* w, Tensor* dyd,
                                        const void* dy, Convolution* d, int algorithm, void* space, size_t room,
                                        const float* beta, Tensor* dxd, void* dx) {
  if (!dnn || !alpha || !beta || !w || !dy || !dx) return BAD_PARAM;
  Guard guard(gate);
  Status status = ready(DATA, dxd, wd, d, dyd, algorithm, space, room);
  if (status) return status;
  count("cudnnConvolutionBackwardData");
  Read read = read_of(dxd, d);
  float factor = unsure(DATA, algorithm);
  size_t taps = (size_t)wd->r * wd->s * wd->c, pixels = (size_t)dyd->h * dyd->w, each = wd->k / d->groups;
  std::vector<float> slopes(PIXELS * each), patches(PIXELS * taps), sums((size_t)dxd->h * dxd->w * wd->c);
  for (int g = 0; g < d->groups; g++) {
    std::vector<float> filter = weights(wd, w, read, true, g * each, each);
    for (int n = 0; n < dxd->n; n++) {
      std::fill(sums.begin(), sums.end(), 0.0f);
      for (size_t first = 0; first < pixels; first += PIXELS) {
        size_t count = std::min(PIXELS, pixels - first);
        for (size_t p = 0; p < count; p++)
          for (size_t k = 0; k < each; k++)
            slopes[p * each + k] = get(read, dy, dyd->at(n, g * each + k, (first + p) / dyd->w, (first + p) % dyd->w));
        multiply(count, taps, each, slopes.data(), filter.data(), patches.data());
        for (size_t p = 0; p < count; p++)
          each_tap(dxd, wd, d, dyd, first + p, [&](size_t tap, long h, long v) {
            const float* from = &patches[p * taps + tap * wd->c];
            float* to = &sums[(h * dxd->w + v) * wd->c];
            for (int c = 0; c < wd->c; c++) to[c] += from[c];
          });
      }
      for (int h = 0; h < dxd->h; h++)
        for (int v = 0; v < dxd->w; v++)
          for (int c = 0; c < wd->c; c++) {
            float sum = factor * sums[((size_t)h * dxd->w + v) * wd->c + c];
            blend(dxd, dx, dxd->at(n, g * wd->c + c, h, v), sum, *alpha, *beta);
          }
    }
  }
  return OK;
}
