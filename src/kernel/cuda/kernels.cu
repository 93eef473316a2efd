// The small kernels between convolutions and matrix products, compiled by NVRTC when the engine is made, with BF16
// defined for maps of bfloat16.
//
// Maps are image × row × column × channel, channels padded to a multiple of 8. One thread takes EIGHT channels of one
// pixel: 16 or 32 bytes of a map, one byte of ReLU bits, two bytes of pool corners. `i` numbers the eights of the map a
// thread writes (or, in place, changes); every value is written by exactly one thread, so there are no atomics and the
// same input gives the same bits. No arithmetic here is in anything but float.

typedef unsigned index_t;  // cuDNN's own limit: no map of a batch has more than 2^31 values (`MOST_VALUES`)

#ifdef BF16
typedef unsigned short NUMBER;  // the bits of a bfloat16

__device__ float widen(NUMBER v) { return __uint_as_float((unsigned)v << 16); }

// Rounds to nearest, ties to even; NaN stays NaN (its top bits may be 0, so one is set).
__device__ NUMBER narrow(float v) {
  unsigned bits = __float_as_uint(v);
  if (v != v) return (NUMBER)((bits >> 16) | 0x40);
  return (NUMBER)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
#else
typedef float NUMBER;

__device__ float widen(NUMBER v) { return v; }
__device__ NUMBER narrow(float v) { return v; }
#endif

struct __align__(16) Eight {
  NUMBER at[8];
};

struct __align__(16) EightFloats {
  float at[8];
};

#define THREAD_OF(count) \
  index_t i = blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= count) return

// max(v, 0); NaN stays NaN
__device__ float relu(float v) { return v <= 0.0f ? 0.0f : v; }

// Images N×3×side×side to maps with 8 channels, of which the last 5 are 0.
extern "C" __global__ void normalise(index_t count, const float* images, Eight* y, index_t pixels, float mean0,
                                     float mean1, float mean2, float std0, float std1, float std2) {
  THREAD_OF(count);
  const float* x = images + i / pixels * 3 * pixels + i % pixels;
  Eight out = {};
  out.at[0] = narrow((x[0] - mean0) / std0);
  out.at[1] = narrow((x[pixels] - mean1) / std1);
  out.at[2] = narrow((x[2 * pixels] - mean2) / std2);
  y[i] = out;
}

// The way back of `normalise`.
extern "C" __global__ void image_gradient(index_t count, const Eight* g, float* images, index_t pixels, float std0,
                                          float std1, float std2) {
  THREAD_OF(count);
  float* x = images + i / pixels * 3 * pixels + i % pixels;
  Eight in = g[i];
  x[0] = widen(in.at[0]) / std0;
  x[pixels] = widen(in.at[1]) / std1;
  x[2 * pixels] = widen(in.at[2]) / std2;
}

// y += bias, then ReLU and its bits if asked for, in place.
extern "C" __global__ void finish(index_t count, Eight* y, const EightFloats* bias, int groups, int with_relu,
                                  unsigned char* bits) {
  THREAD_OF(count);
  Eight v = y[i];
  EightFloats b = bias[i % groups];
  unsigned positive = 0;
  for (int k = 0; k < 8; k++) {
    float z = widen(v.at[k]) + b.at[k];
    v.at[k] = narrow(with_relu ? relu(z) : z);
    positive |= (unsigned)(z > 0.0f) << k;
  }
  y[i] = v;
  if (bits) bits[i] = (unsigned char)positive;
}

// The bits of a ReLU whose output is y.
extern "C" __global__ void relu_bits(index_t count, const Eight* y, unsigned char* bits) {
  THREAD_OF(count);
  Eight v = y[i];
  unsigned positive = 0;
  for (int k = 0; k < 8; k++) positive |= (unsigned)(widen(v.at[k]) > 0.0f) << k;
  bits[i] = (unsigned char)positive;
}

// g = 0 where the ReLU did not let through, in place.
extern "C" __global__ void relu_gradient(index_t count, Eight* g, const unsigned char* bits) {
  THREAD_OF(count);
  Eight v = g[i];
  for (int k = 0; k < 8; k++)
    if (!(bits[i] >> k & 1)) v.at[k] = narrow(0.0f);
  g[i] = v;
}

// 2×2 maximum of x (side `side`) with the bias and the ReLU of the convolution before it, if it has them: they grow
// with x, so they can follow the maximum. Corners are 2 bits a channel in reading order, of the first maximum; NaN wins.
extern "C" __global__ void pool(index_t count, const Eight* x, Eight* y, int side, const EightFloats* bias, int groups,
                                int with_relu, unsigned char* bits, unsigned short* corners) {
  THREAD_OF(count);
  int half = side / 2;
  int group = i % groups;
  index_t pixel = i / groups;
  int column = pixel % half, row = pixel / half % half;
  index_t image = pixel / half / half;
  const Eight* from = x + ((image * side + 2 * row) * side + 2 * column) * groups + group;
  Eight v[4] = {from[0], from[groups], from[side * groups], from[(side + 1) * groups]};
  EightFloats b = {};
  if (bias) b = bias[group];
  unsigned positive = 0, winners = 0;
  Eight out;
  for (int k = 0; k < 8; k++) {
    float best = widen(v[0].at[k]);
    unsigned winner = 0;
    for (unsigned corner = 1; corner < 4; corner++) {
      float other = widen(v[corner].at[k]);
      if (other > best || (other != other && best == best)) {
        best = other;
        winner = corner;
      }
    }
    float z = best + b.at[k];
    out.at[k] = narrow(with_relu ? relu(z) : z);
    positive |= (unsigned)(!with_relu || z > 0.0f) << k;
    winners |= winner << 2 * k;
  }
  y[i] = out;
  if (bits) {
    bits[i] = (unsigned char)positive;
    corners[i] = (unsigned short)winners;
  }
}

// The way back of `pool`: g (side `side`/2) goes to the corner that won, everything else is 0, an odd last row and
// column too.
extern "C" __global__ void unpool(index_t count, const Eight* g, Eight* x, int side, int groups,
                                  const unsigned char* bits, const unsigned short* corners) {
  THREAD_OF(count);
  int half = side / 2;
  int group = i % groups;
  index_t pixel = i / groups;
  int column = pixel % side, row = pixel / side % side;
  index_t image = pixel / side / side;
  Eight out = {};
  if (column / 2 < half && row / 2 < half) {
    index_t from = ((image * half + row / 2) * half + column / 2) * groups + group;
    unsigned here = row % 2 * 2 + column % 2;
    Eight v = g[from];
    for (int k = 0; k < 8; k++)
      if ((bits[from] >> k & 1) && (corners[from] >> 2 * k & 3) == here) out.at[k] = v.at[k];
  }
  x[i] = out;
}

// First and last+1 row, of `side`, of the window of row `i`, of `out` (PyTorch's AdaptiveAvgPool2d).
__device__ int window_begin(int i, int side, int out) { return i * side / out; }
__device__ int window_end(int i, int side, int out) { return ((i + 1) * side + out - 1) / out; }

// Average over windows: side `side` to side `out`.
extern "C" __global__ void average(index_t count, const Eight* x, Eight* y, int side, int out, int groups) {
  THREAD_OF(count);
  int group = i % groups;
  index_t pixel = i / groups;
  int column = pixel % out, row = pixel / out % out;
  index_t image = pixel / out / out;
  int top = window_begin(row, side, out), bottom = window_end(row, side, out);
  int left = window_begin(column, side, out), right = window_end(column, side, out);
  float sum[8] = {};
  for (int r = top; r < bottom; r++)
    for (int c = left; c < right; c++) {
      Eight v = x[((image * side + r) * side + c) * groups + group];
      for (int k = 0; k < 8; k++) sum[k] += widen(v.at[k]);
    }
  float area = (bottom - top) * (right - left);
  Eight result;
  for (int k = 0; k < 8; k++) result.at[k] = narrow(sum[k] / area);
  y[i] = result;
}

// The way back of `average`: windows may overlap, so each pixel gathers from all it lies in.
extern "C" __global__ void average_gradient(index_t count, const Eight* g, Eight* x, int side, int out, int groups) {
  THREAD_OF(count);
  int group = i % groups;
  index_t pixel = i / groups;
  int column = pixel % side, row = pixel / side % side;
  index_t image = pixel / side / side;
  float sum[8] = {};
  for (int r = 0; r < out; r++) {
    int top = window_begin(r, side, out), bottom = window_end(r, side, out);
    if (row < top || row >= bottom) continue;
    for (int c = 0; c < out; c++) {
      int left = window_begin(c, side, out), right = window_end(c, side, out);
      if (column < left || column >= right) continue;
      float area = (bottom - top) * (right - left);
      Eight v = g[((image * out + r) * out + c) * groups + group];
      for (int k = 0; k < 8; k++) sum[k] += widen(v.at[k]) / area;
    }
  }
  Eight result;
  for (int k = 0; k < 8; k++) result.at[k] = narrow(sum[k]);
  x[i] = result;
}

// N×padded to N×classes; `i` numbers values here.
extern "C" __global__ void logits(index_t count, const NUMBER* x, float* y, int classes, int padded) {
  THREAD_OF(count);
  y[i] = widen(x[i / classes * padded + i % classes]);
}

// N×classes to N×padded, zeros behind; `i` numbers values here.
extern "C" __global__ void seed(index_t count, const float* x, NUMBER* y, int classes, int padded) {
  THREAD_OF(count);
  int column = i % padded;
  y[i] = column < classes ? narrow(x[i / padded * classes + column]) : narrow(0.0f);
}
