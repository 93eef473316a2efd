// What a step and its judging do to the values of images; `kernel/pixels.rs` has the same on the host, to the bit.
// Compiled with --fmad=false, so that a product and a sum round apart as they do there.
//
// Kernels of values: one thread a value. Kernels of rows: one block of LANES threads an image of `values` values; its sums
// are made in one order whatever the device (see `sum_of_lanes`), so the same images give the same bits.

#define LANES 1024
#define WARP 32

#define THREAD_OF(count) \
  unsigned i = blockIdx.x * blockDim.x + threadIdx.x; \
  if (i >= count) return

// To [0, 1]; NaN stays NaN.
__device__ float to_box(float v) { return v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v; }

// The sum of one number a lane, for all lanes: lanes j, j+32, j+64, … from left to right, then those 32 sums.
template <class T>
__device__ T sum_of_lanes(T* shared, T of_lane) {
  unsigned lane = threadIdx.x;
  shared[lane] = of_lane;
  __syncthreads();
  if (lane < WARP) {
    T sum = shared[lane];
    for (unsigned k = lane + WARP; k < LANES; k += WARP) sum = sum + shared[k];
    shared[lane] = sum;
  }
  __syncthreads();
  T sum = shared[0];
  for (unsigned k = 1; k < WARP; k++) sum = sum + shared[k];
  __syncthreads();  // before anybody writes there again
  return sum;
}

// x_adv + step_size·sign(g), into the ball of `eps` around x, into the box.
extern "C" __global__ void step_linf(unsigned count, const float* x_adv, const float* g, const float* x, float* to,
                                     float step_size, float eps) {
  THREAD_OF(count);
  float sign = (float)(g[i] > 0.0f) - (float)(g[i] < 0.0f);
  float moved = x_adv[i] + sign * step_size;
  float high = x[i] + eps, low = x[i] - eps;
  float below = moved > high ? high : moved;
  to[i] = to_box(below < low ? low : below);
}

// x_adv + step_size·g/|g|, onto the ball of `eps` around x, into the box. Lengths and directions are in double, so that the
// step is as long as asked whatever the size of g.
extern "C" __global__ void __launch_bounds__(LANES)
    step_l2(unsigned values, const float* x_adv, const float* g, const float* x, float* to, float step_size, double eps) {
  __shared__ double shared[LANES];
  size_t first = (size_t)blockIdx.x * values;
  x_adv += first, g += first, x += first, to += first;
  double square = 0.0;
  for (unsigned v = threadIdx.x; v < values; v += LANES) square += (double)g[v] * (double)g[v];
  double length = sqrt(sum_of_lanes(shared, square));
  double inverse = length > 0.0 ? 1.0 / length : 0.0;
  square = 0.0;
  for (unsigned v = threadIdx.x; v < values; v += LANES) {
    float change = x_adv[v] + (float)((double)g[v] * inverse) * step_size - x[v];
    square += (double)change * (double)change;
  }
  length = sqrt(sum_of_lanes(shared, square));
  // 1e-12: the smallest divisor, `kernel::pixels::TINY`
  double shrink = 1.0 / (length > 1e-12 ? length : 1e-12) * eps;
  float scale = (float)(shrink < 1.0 ? shrink : 1.0);
  for (unsigned v = threadIdx.x; v < values; v += LANES) {
    float change = x_adv[v] + (float)((double)g[v] * inverse) * step_size - x[v];
    to[v] = to_box(x[v] + change * scale);
  }
}

// To the nearest grey level, ties to even, at most `most` levels from the clean one. NaN becomes 0.
extern "C" __global__ void round_in_ball(unsigned count, const float* images, const unsigned char* clean,
                                         unsigned char* to, int most) {
  THREAD_OF(count);
  float level = rintf(images[i] * 255.0f);
  int nearest = level >= 255.0f ? 255 : level > 0.0f ? (int)level : 0;
  int change = nearest - clean[i];
  change = change > most ? most : change < -most ? -most : change;
  to[i] = (unsigned char)(clean[i] + change);
}

// One code a row. 0: the image lies in the threat set, and so does the rounded one; 1: it has NaN or Inf; 2: it lies
// outside; 3: the rounded one does. Floats may be off by `slack`; `reach` is eps + slack, of Linf or of L2. Whole numbers
// are exact: `most` levels a value, `most_square` their sum of squares.
extern "C" __global__ void __launch_bounds__(LANES)
    membership(unsigned values, const float* images, const unsigned char* clean, const unsigned char* rounded, unsigned* to,
               int is_linf, double reach, double slack, int most, unsigned long long most_square) {
  __shared__ double lengths[LANES];
  __shared__ unsigned long long counts[LANES];
  size_t first = (size_t)blockIdx.x * values;
  images += first, clean += first, rounded += first;
  bool not_finite = false, outside = false, rounded_outside = false;
  double length = 0.0;
  unsigned long long square = 0;
  for (unsigned v = threadIdx.x; v < values; v += LANES) {
    float image = images[v];
    double wide = image, change = wide - (double)((float)clean[v] / 255.0f);
    not_finite |= !(image - image == 0.0f);
    outside |= !(wide >= -slack && wide <= 1.0 + slack) || (is_linf && !(fabs(change) <= reach));
    length += change * change;
    int levels = (int)rounded[v] - (int)clean[v];
    rounded_outside |= levels > most || levels < -most;
    square += (unsigned long long)(levels * levels);
  }
  length = sum_of_lanes(lengths, length);
  square = sum_of_lanes(counts, square);
  // lanes that found each fault, three numbers in one
  unsigned long long found = not_finite;
  found += ((unsigned long long)outside << 20) + ((unsigned long long)rounded_outside << 40);
  found = sum_of_lanes(counts, found);
  if (threadIdx.x != 0) return;
  if (!is_linf && !(sqrt(length) <= reach)) found |= 1 << 20;
  if (square > most_square) found |= 1ull << 40;
  to[blockIdx.x] = found & 0xfffff ? 1 : found & 0xffffffffff ? 2 : found ? 3 : 0;
}

// Σ |g·(rounded − image)|: by how much rounding may move a loss, to first order.
extern "C" __global__ void __launch_bounds__(LANES)
    first_order(unsigned values, const float* g, const float* images, const unsigned char* rounded, float* to) {
  __shared__ float shared[LANES];
  size_t first = (size_t)blockIdx.x * values;
  g += first, images += first, rounded += first;
  float moved = 0.0f;
  for (unsigned v = threadIdx.x; v < values; v += LANES) {
    float change = (float)rounded[v] / 255.0f - images[v];
    moved += fabsf(g[v] * change);
  }
  moved = sum_of_lanes(shared, moved);
  if (threadIdx.x == 0) to[blockIdx.x] = moved;
}

// 8-bit images as nets see them.
extern "C" __global__ void to_unit(unsigned count, const unsigned char* images, float* to) {
  THREAD_OF(count);
  to[i] = (float)images[i] / 255.0f;
}
