// Runs the kernels of src/kernel/cuda/kernels.cu on the CPU, block by block and thread by thread, against naive versions
// over whole arrays (pixels.cu: tests/pixels.rs). Arrays are exactly as long as they must be, so that the sanitizers notice a step outside.
#include "cuda_on_cpu.h"
#include "kernels.cu"
#include <algorithm>
#include <random>
#include <tuple>

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

// images × height × width × channels
struct Map {
  int images, height, width, channels;
  std::vector<Eight> data;
  Map(int images, int height, int width, int channels)
      : images(images), height(height), width(width), channels(channels),
        data((size_t)images * height * width * channels / 8) {}
  index_t eights() const { return data.size(); }
  size_t place(int n, int r, int c, int k) const { return (((size_t)n * height + r) * width + c) * channels + k; }
  NUMBER& at(int n, int r, int c, int k) {
    size_t i = place(n, r, c, k);
    return data[i / 8].at[i % 8];
  }
  void fill(bool nan) {
    for (Eight& e : data)
      for (NUMBER& v : e.at) v = narrow(number(nan));
  }
};

static void each(const Map& map, std::function<void(int, int, int, int)> work) {
  for (int n = 0; n < map.images; n++)
    for (int r = 0; r < map.height; r++)
      for (int c = 0; c < map.width; c++)
        for (int k = 0; k < map.channels; k++) work(n, r, c, k);
}

// Sums of parts, and of their sizes: what they may be off by.
struct Sums {
  std::vector<double> sum, size;
  explicit Sums(size_t n) : sum(n), size(n) {}
  void add(size_t i, double part) { sum[i] += part, size[i] += std::fabs(part); }
  bool has(size_t i, float v) const { return std::fabs(v - sum[i]) <= 0.01 * size[i] + 1e-5; }
};

static std::vector<EightFloats> floats(int groups) {
  std::vector<EightFloats> all(groups);
  for (EightFloats& e : all)
    for (float& v : e.at) v = number(false);
  return all;
}

static void check_ends(int images, int height, int width) {
  index_t pixels = height * width;
  std::vector<float> x(images * 3 * pixels), back(images * 3 * pixels);
  for (float& v : x) v = number(false);
  float mean[3] = {0.5f, 0.25f, 0}, std[3] = {0.25f, 0.5f, 2};
  Map y(images, height, width, 8);
  y.fill(true);
  launch(normalise, images * pixels, x.data(), y.data.data(), pixels, mean[0], mean[1], mean[2], std[0], std[1],
         std[2]);
  each(y, [&](int n, int r, int c, int k) {
    float want = k < 3 ? (x[((n * 3 + k) * height + r) * width + c] - mean[k]) / std[k] : 0;
    expect(same(widen(y.at(n, r, c, k)), want), "normalise");
  });
  launch(image_gradient, images * pixels, y.data.data(), back.data(), pixels, std[0], std[1], std[2]);
  each(y, [&](int n, int r, int c, int k) {
    if (k < 3) expect(same(back[((n * 3 + k) * height + r) * width + c], widen(y.at(n, r, c, k)) / std[k]), "back");
  });
}

// Every function with and without what stands before it; its slope by differences of its values, away from kinks.
static void check_finish(int images, int side, int channels) {
  for (int name = NOTHING; name <= ERF; name++)
    for (int with : {0, 1, 2, 3}) {
      Function f{name, name == CLIP ? -0.8f : 0.3f, 0.6f};
      Map x(images, side, side, channels), other(1, side, side, channels), g = x, y = x, back = x;
      x.fill(name == NOTHING || name == RELU), other.fill(false), g.fill(false), back.fill(false);
      int groups = channels / 8, real = channels - 3;
      std::vector<EightFloats> bias = floats(groups), factor = floats(groups);
      std::vector<unsigned char> bits(y.eights());
      bool leaves_bits = name >= RELU && name <= HARD_SIGMOID;
      Affine in{x.data.data(), with & 1 ? factor.data() : nullptr, with & 1 ? bias.data() : nullptr,
                with & 2 ? other.data.data() : nullptr, other.eights(), real, groups};
      launch(finish, y.eights(), in, y.data.data(), f, bits.data());
      Map before = back;
      launch(finish_gradient, back.eights(), in, g.data.data(), back.data.data(), 1, f,
             leaves_bits ? bits.data() : nullptr);
      each(y, [&](int n, int r, int c, int k) {
        float z = widen(x.at(n, r, c, k)), scale = with & 1 ? factor[k / 8].at[k % 8] : 1;
        if (with & 1) z = z * scale + bias[k / 8].at[k % 8];
        if (with & 2) z += widen(other.at(0, r, c, k));
        float want = k < real || name == RELU ? apply(f, z) : 0;
        float is = widen(y.at(n, r, c, k));
        expect(std::fabs(is - want) <= 0.01f * std::fabs(want) + 1e-5f || same(want, is), "finish");
        if (std::isnan(z)) return;
        const float h = 1e-3f;
        float below = (apply(f, z) - apply(f, z - h)) / h, above = (apply(f, z + h) - apply(f, z)) / h;
        float old = widen(before.at(n, r, c, k)), slope = widen(back.at(n, r, c, k)) - old;
        float one = below * widen(g.at(n, r, c, k)) * scale, two = above * widen(g.at(n, r, c, k)) * scale;
        float most = std::fmax(one, two), least = std::fmin(one, two);
        float off = 0.03f * (std::fabs(most) + std::fabs(old)) + 0.02f;
        expect(slope >= least - off && slope <= most + off, "finish_gradient");
      });
      std::vector<unsigned char> of_output(y.eights());
      launch(relu_bits, y.eights(), y.data.data(), of_output.data());
      if (name == RELU) expect(bits == of_output, "relu_bits");
    }
}

static void check_pool(int images, int height, int width, int channels) {
  for (int with_relu : {0, 1}) {
    int groups = channels / 8;
    Map x(images, height, width, channels), y(images, height / 2, width / 2, channels), g = y, back = x, want = x;
    x.fill(true), g.fill(false), back.fill(true);
    std::vector<EightFloats> bias = floats(groups);
    std::vector<unsigned char> bits(y.eights());
    std::vector<unsigned short> corners(y.eights());
    unsigned char* bits_or_none = with_relu ? bits.data() : nullptr;
    launch(pool, y.eights(), x.data.data(), y.data.data(), height, width, with_relu ? bias.data() : nullptr, groups,
           with_relu, bits_or_none, corners.data());
    launch(unpool, back.eights(), g.data.data(), back.data.data(), height, width, groups, bits_or_none, corners.data());
    each(y, [&](int n, int r, int c, int k) {
      // as a loop over the window after bias and ReLU; the first maximum, NaN above all, the last of them
      float best = -INFINITY;
      int row = 0, column = 0;
      for (int dr = 0; dr < 2; dr++)
        for (int dc = 0; dc < 2; dc++) {
          float v = widen(x.at(n, 2 * r + dr, 2 * c + dc, k)) + (with_relu ? bias[k / 8].at[k % 8] : 0);
          if (with_relu && v <= 0) v = 0;
          if (v > best || std::isnan(v)) best = v, row = dr, column = dc;
        }
      expect(same(widen(y.at(n, r, c, k)), best), "pool");
      if (!with_relu || !(best <= 0)) want.at(n, 2 * r + row, 2 * c + column, k) = g.at(n, r, c, k);
    });
    each(back, [&](int n, int r, int c, int k) {
      expect(same(widen(back.at(n, r, c, k)), widen(want.at(n, r, c, k))), "unpool");
    });
  }
}

// Rows and columns of windows, strides, steps, padding above, left, below, right; and what comes of a side, as
// `Window::out` with `ceil` has it.
static Geometry geometry(int height, int width, int groups, bool ceil, std::vector<int> w) {
  auto out = [&](int side, int axis) {
    int room = side + w[6 + axis] + w[8 + axis] - (w[axis] - 1) * w[4 + axis] - 1, stride = w[2 + axis];
    if (room < 0) return 0;
    return ceil ? std::min((room + stride - 1) / stride + 1, (side + w[6 + axis] - 1) / stride + 1) : room / stride + 1;
  };
  return {height, width, out(height, 0), out(width, 1), groups, w[0], w[1], w[2], w[3], w[4],
          w[5],   w[6],  w[7],           w[8],          w[9]};
}

static const std::vector<std::vector<int>> WINDOWS = {
    {3, 3, 2, 2, 1, 1, 1, 1, 1, 1},
    {2, 3, 1, 2, 1, 1, 0, 1, 1, 0},
    {3, 2, 2, 1, 2, 3, 2, 1, 1, 2},
    {1, 1, 2, 3, 1, 1, 0, 0, 0, 0},
};

// The places of the map in the window of an output.
static void window(const Geometry& on, int r, int c, std::function<void(int row, int column, int tap)> visit) {
  for (int i = 0; i < on.rows; i++)
    for (int j = 0; j < on.columns; j++) {
      int row = r * on.row_stride + i * on.row_step - on.top;
      int column = c * on.column_stride + j * on.column_step - on.left;
      if (row >= 0 && row < on.height && column >= 0 && column < on.width) visit(row, column, i * on.columns + j);
    }
}

static void check_max_pool(int images, const Geometry& on) {
  Map x(images, on.height, on.width, 8 * on.groups), back = x;
  Map y(images, on.out_height, on.out_width, 8 * on.groups), g = y;
  x.fill(true), g.fill(false), back.fill(false);
  Map before = back;
  std::vector<EightShorts> taps(y.eights());
  launch(max_pool, y.eights(), x.data.data(), y.data.data(), on, taps.data());
  launch(max_pool_gradient, back.eights(), g.data.data(), back.data.data(), 1, on, taps.data());
  Sums want(8 * x.eights());
  each(before, [&](int n, int r, int c, int k) { want.add(x.place(n, r, c, k), widen(before.at(n, r, c, k))); });
  each(y, [&](int n, int r, int c, int k) {
    float best = -INFINITY;
    long place = -1;
    window(on, r, c, [&](int row, int column, int) {
      float v = widen(x.at(n, row, column, k));
      if (place < 0 || v > best || std::isnan(v)) best = v, place = x.place(n, row, column, k);
    });
    expect(same(widen(y.at(n, r, c, k)), best) || place < 0, "max_pool");
    if (place >= 0) want.add(place, widen(g.at(n, r, c, k)));
  });
  each(back, [&](int n, int r, int c, int k) {
    expect(want.has(x.place(n, r, c, k), widen(back.at(n, r, c, k))), "max_pool_gradient");
  });
}

static void check_average(int images, const Geometry& on, int kind) {
  Map x(images, on.height, on.width, 8 * on.groups), back = x;
  Map y(images, on.out_height, on.out_width, 8 * on.groups), g = y;
  x.fill(false), g.fill(false), back.fill(true);
  launch(average, y.eights(), x.data.data(), y.data.data(), on, kind);
  launch(average_gradient, back.eights(), g.data.data(), back.data.data(), 0, on, kind);
  Sums want(8 * x.eights()), sums(8 * y.eights());
  each(y, [&](int n, int r, int c, int k) {
    std::vector<std::pair<int, int>> places;
    int area = 0;
    if (kind == ADAPTIVE) {
      int top = r * on.height / on.out_height, bottom = std::ceil((r + 1.0) * on.height / on.out_height);
      int left = c * on.width / on.out_width, right = std::ceil((c + 1.0) * on.width / on.out_width);
      for (int i = top; i < bottom; i++)
        for (int j = left; j < right; j++) places.push_back({i, j});
    } else {
      window(on, r, c, [&](int row, int column, int) { places.push_back({row, column}); });
      for (int i = 0; i < on.rows; i++)
        for (int j = 0; j < on.columns; j++)
          area += r * on.row_stride + i < on.height + on.top + on.bottom &&
                  c * on.column_stride + j < on.width + on.left + on.right;
    }
    if (kind != PADDED) area = places.size();
    for (auto [i, j] : places) {
      sums.add(y.place(n, r, c, k), widen(x.at(n, i, j, k)) / area);
      want.add(x.place(n, i, j, k), widen(g.at(n, r, c, k)) / area);
    }
    expect(sums.has(y.place(n, r, c, k), widen(y.at(n, r, c, k))), "average");
  });
  each(back, [&](int n, int r, int c, int k) {
    expect(want.has(x.place(n, r, c, k), widen(back.at(n, r, c, k))), "average_gradient");
  });
}

static void check_direct(int images, Geometry on, int groups, int read, int written) {
  int inputs = groups * read, outputs = groups * written, taps = on.rows * on.columns;
  bool each_channel = read == 1 && written == 1;
  on.groups = (inputs + 7) / 8;
  Map x(images, on.height, on.width, 8 * on.groups), back = x;
  Map y(images, on.out_height, on.out_width, (outputs + 7) / 8 * 8), g = y;
  x.fill(false), g.fill(false), y.fill(true), back.fill(true);
  std::vector<Eight> weight((size_t)taps * y.channels * (each_channel ? 1 : read) / 8 + 1);
  NUMBER* w = weight[0].at;
  auto at = [&](int o, int tap, int i) { return each_channel ? tap * y.channels + o : (o * taps + tap) * read + i; };
  for (int o = 0; o < outputs; o++)
    for (int t = 0; t < taps; t++)
      for (int i = 0; i < read; i++) ((NUMBER*)w)[at(o, t, i)] = narrow(number(false));
  Groups of{read, written, outputs};
  launch(direct, y.eights(), x.data.data(), w, y.data.data(), on, of);
  launch(direct_gradient, back.eights(), g.data.data(), w, back.data.data(), 0, on, of);
  Sums sums(8 * y.eights()), want(8 * x.eights());
  each(y, [&](int n, int r, int c, int k) {
    if (k < outputs)
      window(on, r, c, [&](int row, int column, int tap) {
        for (int i = 0; i < read; i++) {
          int input = k / written * read + i;
          float factor = widen(((NUMBER*)w)[at(k, tap, i)]);
          sums.add(y.place(n, r, c, k), factor * widen(x.at(n, row, column, input)));
          want.add(x.place(n, row, column, input), factor * widen(g.at(n, r, c, k)));
        }
      });
    expect(sums.has(y.place(n, r, c, k), widen(y.at(n, r, c, k))), "direct");
  });
  each(back, [&](int n, int r, int c, int k) {
    expect(want.has(x.place(n, r, c, k), widen(back.at(n, r, c, k))), "direct_gradient");
  });
}

// y (3×16, zeros around) += 2·Σ over 5 of x·z, where x is 5×3×16 and z one number a sum.
static void check_contract() {
  for (int width : {1, 8}) {
    std::vector<Eight> x(5 * 3 * 2), z(5 * 2), y(3 * 2);
    for (auto* all : {&x, &z, &y})
      for (Eight& e : *all)
        for (NUMBER& v : e.at) v = narrow(number(false));
    std::vector<Eight> before = y;
    unsigned wide = 16 / width;
    Loops loops{2, 1, {{3, wide, wide, 0}, {wide, 1, 1, 1}, {5, 0, 3 * wide, wide}}};
    if (width == 8) launch(contract_eights, 3 * wide, x.data(), z.data(), y.data(), loops, 2.0f, 1);
    else launch(contract, 3 * wide, (Some<1>*)x.data(), (Some<1>*)z.data(), (Some<1>*)y.data(), loops, 2.0f, 1);
    for (int i = 0; i < 48; i++) {
      Sums sum(1);
      sum.add(0, widen(before[i / 8].at[i % 8]));
      for (int s = 0; s < 5; s++) {
        int from = s * 48 + i, by = s * 16 + i % 16;
        sum.add(0, 2.0 * widen(x[from / 8].at[from % 8]) * widen(z[by / 8].at[by % 8]));
      }
      expect(sum.has(0, widen(y[i / 8].at[i % 8])), "contract");
    }
  }
}

static void check_rows(int rows, int channels) {
  int padded = (channels + 7) / 8 * 8;
  std::vector<NUMBER> x(rows * padded), g(x.size()), y(x.size()), back(x.size());
  std::vector<float> factor(padded), shift(padded);
  for (NUMBER& v : x) v = narrow(number(false));
  for (NUMBER& v : g) v = narrow(number(false));
  for (float& v : factor) v = number(false);
  for (float& v : shift) v = number(false);
  run_with_barriers([&] { softmax(x.data(), y.data(), channels, padded); }, rows, LANES);
  run_with_barriers([&] { softmax_gradient(y.data(), g.data(), back.data(), 0, channels, padded); }, rows, LANES);
  auto row = [&](std::vector<NUMBER>& of, int r, int c) { return (double)widen(of[r * padded + c]); };
  for (int r = 0; r < rows; r++) {
    double sum = 0, along = 0;
    for (int c = 0; c < channels; c++) sum += std::exp(row(x, r, c));
    for (int c = 0; c < channels; c++) along += row(g, r, c) * row(y, r, c);
    for (int c = 0; c < padded; c++) {
      double want = c < channels ? std::exp(row(x, r, c)) / sum : 0;
      expect(std::fabs(row(y, r, c) - want) <= 0.01 * want, "softmax");
      want = c < channels ? row(y, r, c) * (row(g, r, c) - along) : 0;
      expect(std::fabs(row(back, r, c) - want) <= 0.02, "softmax_gradient");
    }
  }
  const float eps = 0.01f;
  run_with_barriers([&] { layer_norm(x.data(), y.data(), factor.data(), shift.data(), channels, padded, eps); }, rows,
                    LANES);
  std::vector<NUMBER> before = back = g;
  run_with_barriers(
      [&] { layer_norm_gradient(x.data(), g.data(), back.data(), 1, factor.data(), channels, padded, eps); }, rows,
      LANES);
  for (int r = 0; r < rows; r++) {
    double mean = 0, square = 0, sum = 0, along = 0;
    for (int c = 0; c < channels; c++) mean += row(x, r, c) / channels;
    for (int c = 0; c < channels; c++) square += (row(x, r, c) - mean) * (row(x, r, c) - mean) / channels;
    double scale = 1 / std::sqrt(square + eps);
    for (int c = 0; c < channels; c++) {
      sum += row(g, r, c) * factor[c] / channels;
      along += row(g, r, c) * factor[c] * (row(x, r, c) - mean) * scale / channels;
    }
    for (int c = 0; c < padded; c++) {
      double n = (row(x, r, c) - mean) * scale, want = c < channels ? n * factor[c] + shift[c] : 0;
      expect(std::fabs(row(y, r, c) - want) <= 0.01 * std::fabs(want) + 0.01, "layer_norm");
      want = row(before, r, c) + (c < channels ? (row(g, r, c) * factor[c] - sum - n * along) * scale : 0);
      expect(std::fabs(row(back, r, c) - want) <= 0.01 * std::fabs(want) + 0.01 * scale, "layer_norm_gradient");
    }
  }
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
  for (auto [height, width] : {std::pair{1, 1}, {2, 3}, {3, 2}, {8, 7}, {13, 6}})
    for (int groups : {1, 3}) {
      check_ends(3, height, width);
      check_pool(3, height, width, 8 * groups);
      for (const auto& w : WINDOWS)
        for (bool ceil : {false, true}) {
          Geometry on = geometry(height, width, groups, ceil, w);
          if (on.out_height < 1 || on.out_width < 1) continue;
          check_max_pool(2, on);
          // averages have no steps
          for (int kind : {PIXELS, PADDED})
            if (on.row_step == 1) check_average(2, on, kind);
          if (!ceil)
            for (auto [n, read, written] : {std::tuple{11, 1, 1}, {3, 1, 3}, {2, 5, 3}, {1, 8, 16}})
              check_direct(2, on, n, read, written);
        }
      for (int out : {1, 2, 3, 7, 9}) {
        Geometry on{height, width, out, (out + 1) / 2, groups, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};
        check_average(2, on, ADAPTIVE);
      }
    }
  for (int channels : {8, 24}) check_finish(2, 3, channels);
  check_contract();
  for (int channels : {1, 5, 24, 200}) check_rows(3, channels);
  for (int classes : {1, 8, 10, 1000}) check_classes(3, classes);
  std::printf("%s: every kernel does what its naive version does\n", sizeof(NUMBER) == 2 ? "BF16" : "F32");
}
