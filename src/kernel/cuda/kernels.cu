// The small kernels between convolutions and matrix products, compiled by NVRTC when the engine is made, with BF16
// defined for maps of bfloat16.
//
// Maps are image × row × column × channel, channels padded to a multiple of 8. One thread takes EIGHT channels of one
// pixel: 16 or 32 bytes of a map, one byte of bits, two bytes of pool corners. `i` numbers the eights of the map a thread
// writes (or, in place, changes); every value is written by exactly one thread, so there are no atomics and the same input
// gives the same bits. Where gradients meet, `add` says that the result is added to what is there. No arithmetic here is in
// anything but float. `kernel/schedule` says what runs when; the structs here are those of `kernels.rs`.

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

template <int WIDTH>
struct Some {
  NUMBER at[WIDTH];
};

struct __align__(16) Eight : Some<8> {};

struct __align__(16) EightFloats {
  float at[8];
};

struct __align__(16) EightShorts {
  unsigned short at[8];
};

#define THREAD_OF(count) \
  index_t i = blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= count) return

#define LOWEST __uint_as_float(0xff800000u)  // −∞

// max(v, 0); NaN stays NaN
__device__ float relu(float v) { return v <= 0.0f ? 0.0f : v; }

// Writes eight numbers, or adds them.
__device__ void put(Eight* to, const float* v, int add) {
  Eight out = {};
  if (add) out = *to;
  for (int k = 0; k < 8; k++) out.at[k] = narrow(add ? widen(out.at[k]) + v[k] : v[k]);
  *to = out;
}

// Images N×3×pixels to maps with 8 channels, of which the last 5 are 0.
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

// --- functions of one number (`graph::Activation`)

enum { NOTHING, RELU, CLIP, LEAKY_RELU, HARD_SIGMOID, ELU, SIGMOID, SILU, GELU, GELU_TANH, HARD_SWISH, TANH, ERF };

struct Function {
  int name;
  float a, b;
};

__device__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

// sqrt(2/π), and the factor of the cube in the approximation of GELU
#define TANH_SCALE 0.797884561f
#define TANH_CUBE 0.044715f

__device__ float apply(Function f, float z) {
  switch (f.name) {
    case RELU: return relu(z);
    case CLIP: return z < f.a ? f.a : z > f.b ? f.b : z;
    case LEAKY_RELU: return z > 0.0f ? z : f.a * z;
    case HARD_SIGMOID: {
      float t = f.a * z + f.b;
      return t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
    }
    case ELU: return z <= 0.0f ? f.a * expm1f(z) : z;
    case SIGMOID: return sigmoid(z);
    case SILU: return z * sigmoid(z);
    case GELU: return z * (0.5f + 0.5f * erff(z * 0.707106781f));
    case GELU_TANH: return z * (0.5f + 0.5f * tanhf(TANH_SCALE * (z + TANH_CUBE * z * z * z)));
    case HARD_SWISH: return z <= -3.0f ? 0.0f : z < 3.0f ? z * (z / 6.0f + 0.5f) : z;
    case TANH: return tanhf(z);
    case ERF: return erff(z);
    default: return z;
  }
}

// Of a function whose slope has two values: which of them. Of NaN that which PyTorch takes.
__device__ unsigned bit_of(Function f, float z) {
  switch (f.name) {
    case CLIP: return !(z <= f.a || z >= f.b);
    case LEAKY_RELU: return z > 0.0f;
    case HARD_SIGMOID: return f.a * z + f.b > 0.0f && f.a * z + f.b < 1.0f;
    default: return !(z <= 0.0f);
  }
}

__device__ float slope_of_bit(Function f, unsigned bit) {
  if (f.name == LEAKY_RELU) return bit ? 1.0f : f.a;
  return !bit ? 0.0f : f.name == HARD_SIGMOID ? f.a : 1.0f;
}

// Of the other functions.
__device__ float slope(Function f, float z) {
  switch (f.name) {
    case ELU: return z <= 0.0f ? f.a * expf(z) : 1.0f;
    case SIGMOID: {
      float s = sigmoid(z);
      return s * (1.0f - s);
    }
    case SILU: {
      float s = sigmoid(z);
      return s * (1.0f + z * (1.0f - s));
    }
    case GELU: return 0.5f + 0.5f * erff(z * 0.707106781f) + z * 0.398942280f * expf(-0.5f * z * z);
    case GELU_TANH: {
      float t = tanhf(TANH_SCALE * (z + TANH_CUBE * z * z * z));
      return 0.5f + 0.5f * t + 0.5f * z * (1.0f - t * t) * TANH_SCALE * (1.0f + 3.0f * TANH_CUBE * z * z);
    }
    case HARD_SWISH: return z <= -3.0f ? 0.0f : z < 3.0f ? z / 3.0f + 0.5f : 1.0f;
    case TANH: {
      float t = tanhf(z);
      return 1.0f - t * t;
    }
    case ERF: return 1.128379167f * expf(-z * z);
    default: return 1.0f;
  }
}

// What stands before the function: x·factor + bias + other, each but x where there is one; `other` repeats after `period`
// eights.
struct Affine {
  const Eight* x;
  const EightFloats *factor, *bias;
  const Eight* other;
  index_t period;
  int channels, groups;
};

__device__ EightFloats before(Affine in, index_t i) {
  Eight x = in.x[i];
  EightFloats z;
  for (int k = 0; k < 8; k++) z.at[k] = widen(x.at[k]);
  if (in.factor) {
    EightFloats factor = in.factor[i % in.groups];
    for (int k = 0; k < 8; k++) z.at[k] *= factor.at[k];
  }
  if (in.bias) {
    EightFloats bias = in.bias[i % in.groups];
    for (int k = 0; k < 8; k++) z.at[k] += bias.at[k];
  }
  if (in.other) {
    Eight other = in.other[i % in.period];
    for (int k = 0; k < 8; k++) z.at[k] += widen(other.at[k]);
  }
  return z;
}

// y = f(x·factor + bias + other), and its bits if asked for; y may be x. Padded channels become 0.
extern "C" __global__ void finish(index_t count, Affine in, Eight* y, Function f, unsigned char* bits) {
  THREAD_OF(count);
  EightFloats z = before(in, i);
  int real = in.channels - 8 * (int)(i % in.groups);
  unsigned passed = 0;
  Eight out;
  if (f.name == RELU) {  // the same without a choice for each number
    for (int k = 0; k < 8; k++) out.at[k] = narrow(relu(z.at[k])), passed |= (unsigned)!(z.at[k] <= 0.0f) << k;
  } else {
    for (int k = 0; k < 8; k++) {
      out.at[k] = narrow(k < real ? apply(f, z.at[k]) : 0.0f);
      passed |= bit_of(f, z.at[k]) << k;
    }
  }
  y[i] = out;
  if (bits) bits[i] = (unsigned char)passed;
}

// The bits of a ReLU whose output is y.
extern "C" __global__ void relu_bits(index_t count, const Eight* y, unsigned char* bits) {
  THREAD_OF(count);
  Eight v = y[i];
  unsigned passed = 0;
  for (int k = 0; k < 8; k++) passed |= (unsigned)!(widen(v.at[k]) <= 0.0f) << k;
  bits[i] = (unsigned char)passed;
}

// to (+)= g·f'·factor; the slope is that of the bits, or else of what stood before the function. `to` may be g.
extern "C" __global__ void finish_gradient(index_t count, Affine in, const Eight* g, Eight* to, int add, Function f,
                                           const unsigned char* bits) {
  THREAD_OF(count);
  Eight v = g[i];
  float out[8], slopes[2] = {slope_of_bit(f, 0), slope_of_bit(f, 1)};
  EightFloats z = {};
  if (f.name != NOTHING && !bits) z = before(in, i);
  unsigned passed = bits ? bits[i] : 0;
  for (int k = 0; k < 8; k++) {
    float s = bits ? (passed >> k & 1 ? slopes[1] : slopes[0]) : slope(f, z.at[k]);
    out[k] = s == 0.0f ? 0.0f : widen(v.at[k]) * s;
  }
  if (in.factor) {
    EightFloats factor = in.factor[i % in.groups];
    for (int k = 0; k < 8; k++) out[k] *= factor.at[k];
  }
  put(to + i, out, add);
}

// --- windows over maps

struct Geometry {
  int height, width, out_height, out_width, groups;
  int rows, columns, row_stride, column_stride, row_step, column_step;  // taps lie a step apart
  int top, left, bottom, right;
};

// Where thread i is on a map: image, pixel, eight channels.
struct Place {
  int image, row, column, group;
};

__device__ Place place(index_t i, int height, int width, int groups) {
  index_t pixel = i / groups, line = pixel / width;
  return {(int)(line / height), (int)(line % height), (int)(pixel % width), (int)(i % groups)};
}

__device__ index_t at(Place p, int height, int width, int groups) {
  return (((index_t)p.image * height + p.row) * width + p.column) * groups + p.group;
}

// Whether v/by is a whole number below `below`, which becomes v.
__device__ bool divide(int& v, int by, int below) {
  if (v < 0 || v % by) return false;
  v /= by;
  return v < below;
}

// 2×2 maximum of x with the bias and the ReLU of the convolution before it, if it has them: they grow with x, so they can
// follow the maximum. Corners are 2 bits a channel in reading order, of the first maximum; NaN wins, the last of several.
extern "C" __global__ void pool(index_t count, const Eight* x, Eight* y, int height, int width, const EightFloats* bias,
                                int groups, int with_relu, unsigned char* bits, unsigned short* corners) {
  THREAD_OF(count);
  Place p = place(i, height / 2, width / 2, groups);
  const Eight* from = x + at({p.image, 2 * p.row, 2 * p.column, p.group}, height, width, groups);
  Eight v[4] = {from[0], from[groups], from[width * groups], from[(width + 1) * groups]};
  EightFloats b = {};
  if (bias) b = bias[p.group];
  unsigned passed = 0, winners = 0;
  Eight out;
  for (int k = 0; k < 8; k++) {
    float best = widen(v[0].at[k]);
    unsigned winner = 0;
    for (unsigned corner = 1; corner < 4; corner++) {
      float other = widen(v[corner].at[k]);
      if (other > best || other != other) {
        best = other;
        winner = corner;
      }
    }
    float z = best + b.at[k];
    out.at[k] = narrow(with_relu ? relu(z) : z);
    passed |= (unsigned)(!with_relu || !(z <= 0.0f)) << k;
    winners |= winner << 2 * k;
  }
  y[i] = out;
  if (bits) bits[i] = (unsigned char)passed;
  corners[i] = (unsigned short)winners;
}

// The way back of `pool`: g goes to the corner that won, everything else is 0, an odd last row and column too. Without bits
// everything passes.
extern "C" __global__ void unpool(index_t count, const Eight* g, Eight* x, int height, int width, int groups,
                                  const unsigned char* bits, const unsigned short* corners) {
  THREAD_OF(count);
  Place p = place(i, height, width, groups);
  Eight out = {};
  if (p.row / 2 < height / 2 && p.column / 2 < width / 2) {
    index_t from = at({p.image, p.row / 2, p.column / 2, p.group}, height / 2, width / 2, groups);
    unsigned here = p.row % 2 * 2 + p.column % 2, passed = bits ? bits[from] : 255;
    Eight v = g[from];
    for (int k = 0; k < 8; k++)
      if ((passed >> k & 1) && (corners[from] >> 2 * k & 3) == here) out.at[k] = v.at[k];
  }
  x[i] = out;
}

// Maximum of windows, and the number of the tap that it was: the first of several, but of NaN, which wins, the last.
extern "C" __global__ void max_pool(index_t count, const Eight* x, Eight* y, Geometry on, EightShorts* taps) {
  THREAD_OF(count);
  Place p = place(i, on.out_height, on.out_width, on.groups);
  float best[8];
  EightShorts winner;
  for (int k = 0; k < 8; k++) best[k] = LOWEST, winner.at[k] = 0xffff;
  for (int r = 0; r < on.rows; r++)
    for (int c = 0; c < on.columns; c++) {
      int row = p.row * on.row_stride + r * on.row_step - on.top;
      int column = p.column * on.column_stride + c * on.column_step - on.left;
      if (row < 0 || row >= on.height || column < 0 || column >= on.width) continue;
      Eight v = x[at({p.image, row, column, p.group}, on.height, on.width, on.groups)];
      for (int k = 0; k < 8; k++) {
        float other = widen(v.at[k]);
        if (other > best[k] || other != other || winner.at[k] == 0xffff) {
          best[k] = other;
          winner.at[k] = (unsigned short)(r * on.columns + c);
        }
      }
    }
  put(y + i, best, 0);
  taps[i] = winner;
}

// The way back of `max_pool`: a pixel gathers from all windows that it won.
extern "C" __global__ void max_pool_gradient(index_t count, const Eight* g, Eight* to, int add, Geometry on,
                                             const EightShorts* taps) {
  THREAD_OF(count);
  Place p = place(i, on.height, on.width, on.groups);
  float sum[8] = {};
  for (int r = 0; r < on.rows; r++)
    for (int c = 0; c < on.columns; c++) {
      int row = p.row + on.top - r * on.row_step, column = p.column + on.left - c * on.column_step;
      if (!divide(row, on.row_stride, on.out_height) || !divide(column, on.column_stride, on.out_width)) continue;
      index_t from = at({p.image, row, column, p.group}, on.out_height, on.out_width, on.groups);
      Eight v = g[from];
      EightShorts winner = taps[from];
      for (int k = 0; k < 8; k++)
        if (winner.at[k] == r * on.columns + c) sum[k] += widen(v.at[k]);
    }
  put(to + i, sum, add);
}

// What an average divides by (`schedule::Average`).
enum { ADAPTIVE, PIXELS, PADDED };

// A window along one axis, and what it counts for.
struct Span {
  int begin, end;
  float size;
};

__device__ Span span(int i, int side, int out, int size, int stride, int pad, int pad_behind, int kind) {
  // adaptive: PyTorch's AdaptiveAvgPool2d
  int begin = kind == ADAPTIVE ? i * side / out : i * stride - pad;
  int end = kind == ADAPTIVE ? ((i + 1) * side + out - 1) / out : min(begin + size, side + pad_behind);
  int padded = end - begin;
  begin = max(begin, 0), end = min(end, side);
  return {begin, end, (float)(kind == PADDED ? padded : end - begin)};
}

// Average over windows.
extern "C" __global__ void average(index_t count, const Eight* x, Eight* y, Geometry on, int kind) {
  THREAD_OF(count);
  Place p = place(i, on.out_height, on.out_width, on.groups);
  Span rows = span(p.row, on.height, on.out_height, on.rows, on.row_stride, on.top, on.bottom, kind);
  Span columns = span(p.column, on.width, on.out_width, on.columns, on.column_stride, on.left, on.right, kind);
  float sum[8] = {};
  for (int r = rows.begin; r < rows.end; r++)
    for (int c = columns.begin; c < columns.end; c++) {
      Eight v = x[at({p.image, r, c, p.group}, on.height, on.width, on.groups)];
      for (int k = 0; k < 8; k++) sum[k] += widen(v.at[k]);
    }
  for (int k = 0; k < 8; k++) sum[k] /= fmaxf(rows.size * columns.size, 1.0f);
  put(y + i, sum, 0);
}

// The first window that may hold row `i`, and the last; those between do.
__device__ Span windows(int i, int side, int out, int size, int stride, int pad, int kind) {
  if (kind == ADAPTIVE) return {i * out / side, ((i + 1) * out + side - 1) / side, 0.0f};
  return {max(i + pad - size + stride, 0) / stride, min((i + pad) / stride + 1, out), 0.0f};
}

// The way back of `average`: windows may overlap, so each pixel gathers from all it lies in.
extern "C" __global__ void average_gradient(index_t count, const Eight* g, Eight* to, int add, Geometry on, int kind) {
  THREAD_OF(count);
  Place p = place(i, on.height, on.width, on.groups);
  Span rows = windows(p.row, on.height, on.out_height, on.rows, on.row_stride, on.top, kind);
  Span columns = windows(p.column, on.width, on.out_width, on.columns, on.column_stride, on.left, kind);
  float sum[8] = {};
  for (int r = rows.begin; r < rows.end; r++)
    for (int c = columns.begin; c < columns.end; c++) {
      Span high = span(r, on.height, on.out_height, on.rows, on.row_stride, on.top, on.bottom, kind);
      Span wide = span(c, on.width, on.out_width, on.columns, on.column_stride, on.left, on.right, kind);
      Eight v = g[at({p.image, r, c, p.group}, on.out_height, on.out_width, on.groups)];
      for (int k = 0; k < 8; k++) sum[k] += widen(v.at[k]) / (high.size * wide.size);
    }
  put(to + i, sum, add);
}

// --- convolutions that cuDNN does not do

// Channels of one group that are read and written, and channels written in all. Weights are outputs × taps × read, or taps ×
// channels where each channel is a group.
struct Groups {
  int read, written, outputs;
};

// A convolution without bias.
extern "C" __global__ void direct(index_t count, const Eight* x, const NUMBER* weight, Eight* y, Geometry on,
                                  Groups of) {
  THREAD_OF(count);
  int groups = (of.outputs + 7) / 8, taps = on.rows * on.columns;
  Place p = place(i, on.out_height, on.out_width, groups);
  float sum[8] = {};
  for (int r = 0; r < on.rows; r++)
    for (int c = 0; c < on.columns; c++) {
      int row = p.row * on.row_stride + r * on.row_step - on.top;
      int column = p.column * on.column_stride + c * on.column_step - on.left;
      if (row < 0 || row >= on.height || column < 0 || column >= on.width) continue;
      const Eight* pixel = x + at({p.image, row, column, 0}, on.height, on.width, on.groups);
      int tap = r * on.columns + c;
      if (of.read == 1 && of.written == 1) {
        Eight v = pixel[p.group], w = ((const Eight*)weight)[tap * groups + p.group];
        for (int k = 0; k < 8; k++) sum[k] += widen(v.at[k]) * widen(w.at[k]);
        continue;
      }
      for (int k = 0; k < 8 && 8 * p.group + k < of.outputs; k++) {
        int output = 8 * p.group + k;
        const NUMBER* from = (const NUMBER*)pixel + output / of.written * of.read;
        const NUMBER* w = weight + (output * taps + tap) * of.read;
        for (int n = 0; n < of.read; n++) sum[k] += widen(from[n]) * widen(w[n]);
      }
    }
  put(y + i, sum, 0);
}

// Its way back.
extern "C" __global__ void direct_gradient(index_t count, const Eight* g, const NUMBER* weight, Eight* to, int add,
                                           Geometry on, Groups of) {
  THREAD_OF(count);
  int groups = (of.outputs + 7) / 8, taps = on.rows * on.columns, inputs = of.outputs / of.written * of.read;
  Place p = place(i, on.height, on.width, on.groups);
  float sum[8] = {};
  for (int r = 0; r < on.rows; r++)
    for (int c = 0; c < on.columns; c++) {
      int row = p.row + on.top - r * on.row_step, column = p.column + on.left - c * on.column_step;
      if (!divide(row, on.row_stride, on.out_height) || !divide(column, on.column_stride, on.out_width)) continue;
      const Eight* pixel = g + at({p.image, row, column, 0}, on.out_height, on.out_width, groups);
      int tap = r * on.columns + c;
      if (of.read == 1 && of.written == 1) {
        Eight v = pixel[p.group], w = ((const Eight*)weight)[tap * groups + p.group];
        for (int k = 0; k < 8; k++) sum[k] += widen(v.at[k]) * widen(w.at[k]);
        continue;
      }
      for (int k = 0; k < 8 && 8 * p.group + k < inputs; k++) {
        int input = 8 * p.group + k, first = input / of.read * of.written;
        for (int o = first; o < first + of.written; o++)
          sum[k] += widen(((const NUMBER*)pixel)[o]) * widen(weight[(o * taps + tap) * of.read + input % of.read]);
      }
    }
  put(to + i, sum, add);
}

// --- along axes and rows

struct Axis {
  index_t size, y, x, z;
};

// Axes that y has, the fastest last, and axes that are summed over.
struct Loops {
  int kept, summed;
  Axis axes[12];
};

// y (+)= factor·Σ x·z for numbers of WIDTH; without z, of x alone (`schedule::Contract`).
template <class V, int WIDTH>
__device__ void contracted(index_t count, const V* x, const V* z, V* y, Loops loops, float factor, int add) {
  THREAD_OF(count);
  index_t to = 0, from = 0, by = 0, terms = 1;
  for (int a = loops.kept - 1; a >= 0; a--) {
    Axis axis = loops.axes[a];
    index_t index = a ? i % axis.size : i;
    i /= axis.size;
    to += index * axis.y, from += index * axis.x, by += index * axis.z;
  }
  const Axis* summed = loops.axes + loops.kept;
  for (int a = 0; a < loops.summed; a++) terms *= summed[a].size;
  float sum[WIDTH] = {};
  for (index_t t = 0; t < terms; t++) {
    index_t rest = t, more = from, other = by;
    for (int a = loops.summed - 1; a >= 0; a--) {
      index_t index = a ? rest % summed[a].size : rest;
      rest /= summed[a].size;
      more += index * summed[a].x, other += index * summed[a].z;
    }
    V v = x[more], w = {};
    if (z) w = z[other];
    for (int k = 0; k < WIDTH; k++) sum[k] += z ? widen(v.at[k]) * widen(w.at[k]) : widen(v.at[k]);
  }
  V out = {};
  if (add) out = y[to];
  for (int k = 0; k < WIDTH; k++) out.at[k] = narrow(factor * sum[k] + (add ? widen(out.at[k]) : 0.0f));
  y[to] = out;
}

extern "C" __global__ void contract(index_t count, const Some<1>* x, const Some<1>* z, Some<1>* y, Loops loops,
                                    float factor, int add) {
  contracted<Some<1>, 1>(count, x, z, y, loops, factor, add);
}

extern "C" __global__ void contract_eights(index_t count, const Eight* x, const Eight* z, Eight* y, Loops loops,
                                           float factor, int add) {
  contracted<Eight, 8>(count, x, z, y, loops, factor, add);
}

// Kernels of rows: one block of LANES threads a row of `channels` numbers, which begin `padded` apart.
#define LANES 128

// The sum of one number a lane, or the largest, for all lanes, in one order whatever the device.
__device__ float of_lanes(float* shared, float of_lane, bool largest) {
  unsigned lane = threadIdx.x;
  shared[lane] = of_lane;
  __syncthreads();
  for (unsigned half = LANES / 2; half > 0; half /= 2) {
    if (lane < half) {
      float a = shared[lane], b = shared[lane + half];
      shared[lane] = !largest ? a + b : b > a ? b : a;
    }
    __syncthreads();
  }
  float all = shared[0];
  __syncthreads();  // before anybody writes there again
  return all;
}

#define EACH_LANE(c, end) for (int c = threadIdx.x; c < end; c += LANES)

// y = eˣ over its sum, behind it zeros; y may be x.
extern "C" __global__ void __launch_bounds__(LANES) softmax(const NUMBER* x, NUMBER* y, int channels, int padded) {
  __shared__ float shared[LANES];
  x += (size_t)blockIdx.x * padded, y += (size_t)blockIdx.x * padded;
  float largest = LOWEST, sum = 0.0f;
  EACH_LANE(c, channels) largest = widen(x[c]) > largest ? widen(x[c]) : largest;
  largest = of_lanes(shared, largest, true);
  EACH_LANE(c, channels) sum += expf(widen(x[c]) - largest);
  sum = of_lanes(shared, sum, false);
  EACH_LANE(c, padded) y[c] = narrow(c < channels ? expf(widen(x[c]) - largest) / sum : 0.0f);
}

// to (+)= y·(g − Σ g·y); `to` may be g.
extern "C" __global__ void __launch_bounds__(LANES)
    softmax_gradient(const NUMBER* y, const NUMBER* g, NUMBER* to, int add, int channels, int padded) {
  __shared__ float shared[LANES];
  size_t first = (size_t)blockIdx.x * padded;
  y += first, g += first, to += first;
  float sum = 0.0f;
  EACH_LANE(c, channels) sum += widen(g[c]) * widen(y[c]);
  sum = of_lanes(shared, sum, false);
  EACH_LANE(c, padded) {
    float v = c < channels ? widen(y[c]) * (widen(g[c]) - sum) : 0.0f;
    to[c] = narrow(add ? widen(to[c]) + v : v);
  }
}

// Mean of a row, and 1 over its standard deviation.
struct Moments {
  float mean, scale;
};

__device__ Moments moments(float* shared, const NUMBER* x, int channels, float eps) {
  float sum = 0.0f, square = 0.0f;
  EACH_LANE(c, channels) sum += widen(x[c]);
  float mean = of_lanes(shared, sum, false) / channels;
  EACH_LANE(c, channels) square += (widen(x[c]) - mean) * (widen(x[c]) - mean);
  return {mean, 1.0f / sqrtf(of_lanes(shared, square, false) / channels + eps)};
}

// y = (x − mean)/deviation·factor + shift, behind it zeros.
extern "C" __global__ void __launch_bounds__(LANES)
    layer_norm(const NUMBER* x, NUMBER* y, const float* factor, const float* shift, int channels, int padded, float eps) {
  __shared__ float shared[LANES];
  x += (size_t)blockIdx.x * padded, y += (size_t)blockIdx.x * padded;
  Moments m = moments(shared, x, channels, eps);
  EACH_LANE(c, padded)
    y[c] = narrow(c < channels ? (widen(x[c]) - m.mean) * m.scale * factor[c] + shift[c] : 0.0f);
}

// The way back, for a = g·factor and the normalised n: to (+)= (a − mean of a − n·mean of a·n)/deviation; `to` may be g.
extern "C" __global__ void __launch_bounds__(LANES)
    layer_norm_gradient(const NUMBER* x, const NUMBER* g, NUMBER* to, int add, const float* factor, int channels,
                        int padded, float eps) {
  __shared__ float shared[LANES];
  size_t first = (size_t)blockIdx.x * padded;
  x += first, g += first, to += first;
  Moments m = moments(shared, x, channels, eps);
  float sum = 0.0f, along = 0.0f;
  EACH_LANE(c, channels) {
    float a = widen(g[c]) * factor[c];
    sum += a, along += a * (widen(x[c]) - m.mean) * m.scale;
  }
  sum = of_lanes(shared, sum, false) / channels, along = of_lanes(shared, along, false) / channels;
  EACH_LANE(c, padded) {
    float n = (widen(x[c]) - m.mean) * m.scale;
    float v = c < channels ? (widen(g[c]) * factor[c] - sum - n * along) * m.scale : 0.0f;
    to[c] = narrow(add ? widen(to[c]) + v : v);
  }
}

// --- the ends

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
