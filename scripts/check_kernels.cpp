// Runs the kernels of src/kernel/cuda/kernels.cu on the CPU, block by block and thread by thread, against naive versions
// over whole arrays (pixels.cu: tests/pixels.rs). Arrays are exactly as long as they must be, so that the sanitizers notice a step outside.
#include "cuda_on_cpu.h"
#include "kernels.cu"
#include <random>

template <class Kernel, class... Arguments>
void launch(Kernel kernel, index_t count, Arguments... arguments) {
  run_plain(kernel, (count + 31) / 32, 32, count, arguments...);
}

static std::mt19937 generator(1);

// Numbers of which many are equal, some 0, and some NaN if asked for; exact in either precision.
static float number(bool nan) {
  int v = (int)(generator() % 17) - 8;
  return nan && generator() % 50 == 0 ? NAN : v * 0.25f;
}

static bool same(float a, float b) { return std::isnan(a) ? std::isnan(b) : std::fabs(a - b) <= 0.01f * std::fabs(b); }

static void expect(bool truth, const char* what) {
  if (!truth) {
    std::printf("wrong: %s\n", what);
    std::exit(1);
  }
}

// images × side × side × channels
struct Map {
  int images, side, channels;
  std::vector<Eight> data;
  Map(int images, int side, int channels)
      : images(images), side(side), channels(channels), data((size_t)images * side * side * channels / 8) {}
  index_t eights() const { return data.size(); }
  NUMBER& at(int n, int r, int c, int k) {
    size_t i = (((size_t)n * side + r) * side + c) * channels + k;
    return data[i / 8].at[i % 8];
  }
  void fill(bool nan) {
    for (Eight& e : data)
      for (NUMBER& v : e.at) v = narrow(number(nan));
  }
};

static void each(Map& map, std::function<void(int, int, int, int)> work) {
  for (int n = 0; n < map.images; n++)
    for (int r = 0; r < map.side; r++)
      for (int c = 0; c < map.side; c++)
        for (int k = 0; k < map.channels; k++) work(n, r, c, k);
}

static void check_ends(int images, int side) {
  index_t pixels = side * side;
  std::vector<float> x(images * 3 * pixels), back(images * 3 * pixels);
  for (float& v : x) v = number(false);
  float mean[3] = {0.5f, 0.25f, 0}, std[3] = {0.25f, 0.5f, 2};
  Map y(images, side, 8);
  y.fill(true);
  launch(normalise, images * pixels, x.data(), y.data.data(), pixels, mean[0], mean[1], mean[2], std[0], std[1], std[2]);
  each(y, [&](int n, int r, int c, int k) {
    float want = k < 3 ? (x[((n * 3 + k) * side + r) * side + c] - mean[k]) / std[k] : 0;
    expect(same(widen(y.at(n, r, c, k)), want), "normalise");
  });
  launch(image_gradient, images * pixels, y.data.data(), back.data(), pixels, std[0], std[1], std[2]);
  each(y, [&](int n, int r, int c, int k) {
    if (k < 3) expect(same(back[((n * 3 + k) * side + r) * side + c], widen(y.at(n, r, c, k)) / std[k]), "back");
  });
}

static void check_relu(int images, int side, int channels) {
  for (int with_relu : {0, 1}) {
    Map x(images, side, channels), g(images, side, channels);
    x.fill(true), g.fill(false);
    Map y = x, masked = g;
    int groups = channels / 8;
    std::vector<EightFloats> bias(groups);
    for (EightFloats& b : bias)
      for (float& v : b.at) v = number(false);
    std::vector<unsigned char> bits(y.eights()), of_output(y.eights());
    launch(finish, y.eights(), y.data.data(), bias.data(), groups, with_relu, bits.data());
    launch(relu_bits, y.eights(), y.data.data(), of_output.data());
    launch(relu_gradient, g.eights(), masked.data.data(), bits.data());
    each(y, [&](int n, int r, int c, int k) {
      float sum = widen(x.at(n, r, c, k)) + bias[k / 8].at[k % 8];
      expect(same(widen(y.at(n, r, c, k)), with_relu && sum <= 0 ? 0 : sum), "finish");
      expect(same(widen(masked.at(n, r, c, k)), sum > 0 ? widen(g.at(n, r, c, k)) : 0), "relu_gradient");
    });
    if (with_relu) expect(bits == of_output, "relu_bits");
  }
}

static void check_pool(int images, int side, int channels) {
  for (int with_relu : {0, 1}) {
    int half = side / 2, groups = channels / 8;
    Map x(images, side, channels), y(images, half, channels), g(images, half, channels), back(images, side, channels);
    x.fill(true), g.fill(false), back.fill(true);
    std::vector<EightFloats> bias(groups);
    for (EightFloats& b : bias)
      for (float& v : b.at) v = number(false);
    std::vector<unsigned char> bits(y.eights());
    std::vector<unsigned short> corners(y.eights());
    launch(pool, y.eights(), x.data.data(), y.data.data(), side, with_relu ? bias.data() : nullptr, groups, with_relu,
           bits.data(), corners.data());
    launch(unpool, back.eights(), g.data.data(), back.data.data(), side, groups, bits.data(), corners.data());
    Map want(images, side, channels);  // zeros
    each(y, [&](int n, int r, int c, int k) {
      // as a loop over the window after bias and ReLU, first maximum, NaN above all
      float best = -INFINITY;
      int row = 0, column = 0;
      for (int dr = 0; dr < 2; dr++)
        for (int dc = 0; dc < 2; dc++) {
          float v = widen(x.at(n, 2 * r + dr, 2 * c + dc, k)) + (with_relu ? bias[k / 8].at[k % 8] : 0);
          if (with_relu && v <= 0) v = 0;
          if (!std::isnan(best) && (v > best || std::isnan(v))) best = v, row = dr, column = dc;
        }
      expect(same(widen(y.at(n, r, c, k)), best), "pool");
      if (!with_relu || best > 0) want.at(n, 2 * r + row, 2 * c + column, k) = g.at(n, r, c, k);
    });
    each(back, [&](int n, int r, int c, int k) {
      expect(same(widen(back.at(n, r, c, k)), widen(want.at(n, r, c, k))), "unpool");
    });
  }
}

static void check_average(int images, int side, int out, int channels) {
  int groups = channels / 8;
  Map x(images, side, channels), y(images, out, channels), g(images, out, channels), back(images, side, channels);
  x.fill(false), g.fill(false), back.fill(true);
  launch(average, y.eights(), x.data.data(), y.data.data(), side, out, groups);
  launch(average_gradient, back.eights(), g.data.data(), back.data.data(), side, out, groups);
  std::vector<double> want((size_t)images * side * side * channels), size(want.size());
  each(y, [&](int n, int r, int c, int k) {
    int top = std::floor((double)r * side / out), bottom = std::ceil((r + 1.0) * side / out);
    int left = std::floor((double)c * side / out), right = std::ceil((c + 1.0) * side / out);
    double sum = 0, area = (bottom - top) * (right - left);
    for (int i = top; i < bottom; i++)
      for (int j = left; j < right; j++) {
        sum += widen(x.at(n, i, j, k));
        double part = widen(g.at(n, r, c, k)) / area;
        want[((n * side + i) * side + j) * channels + k] += part;
        size[((n * side + i) * side + j) * channels + k] += std::fabs(part);
      }
    expect(std::fabs(widen(y.at(n, r, c, k)) - sum / area) < 0.02, "average");
  });
  each(back, [&](int n, int r, int c, int k) {
    size_t i = ((n * side + r) * side + c) * channels + k;
    expect(std::fabs(widen(back.at(n, r, c, k)) - want[i]) <= 0.01 * size[i], "average_gradient");
  });
}

static void check_classes(int images, int classes) {
  int padded = (classes + 7) / 8 * 8;
  std::vector<float> z(images * classes), g(images * classes);
  std::vector<NUMBER> x(images * padded), back(images * padded);
  for (NUMBER& v : x) v = narrow(number(true));
  for (float& v : g) v = number(true);
  launch(logits, images * classes, x.data(), z.data(), classes, padded);
  launch(seed, images * padded, g.data(), back.data(), classes, padded);
  for (int n = 0; n < images; n++)
    for (int k = 0; k < padded; k++) {
      if (k < classes) expect(same(z[n * classes + k], widen(x[n * padded + k])), "logits");
      expect(same(widen(back[n * padded + k]), k < classes ? g[n * classes + k] : 0), "seed");
    }
}

static void check_rounding() {
#ifdef BF16
  for (int i = 0; i < 2000000; i++) {
    float v = __uint_as_float(generator());
    NUMBER bits = narrow(v);
    if (std::isnan(v)) {
      expect(std::isnan(widen(bits)), "NaN stays NaN");
      continue;
    }
    // the nearer of the two neighbours, the even one of equals
    unsigned low = __float_as_uint(v) >> 16;
    double below = v - (double)widen(low), above = (double)widen(low + 1) - v;
    if (!std::isfinite(widen(low + 1)) || !std::isfinite(v)) continue;
    bool up = std::fabs(above) < std::fabs(below) || (above == below && (low & 1));
    expect(bits == (NUMBER)(low + up), "narrow");
  }
#endif
}

int main() {
  check_rounding();
  for (int side : {1, 2, 3, 7, 8, 13})
    for (int channels : {8, 24}) {
      check_ends(3, side);
      check_relu(2, side, channels);
      check_pool(3, side, channels);
      for (int out : {1, 2, 3, 7, 9}) check_average(2, side, out, channels);
    }
  for (int classes : {1, 8, 10, 1000}) check_classes(3, classes);
  std::printf("%s: every kernel does what its naive version does\n", sizeof(NUMBER) == 2 ? "BF16" : "F32");
}
