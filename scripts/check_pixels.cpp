// Runs the kernels of src/kernel/cuda/pixels.cu on the CPU: requests come on stdin, what the kernels write goes to stdout,
// both as raw numbers of this machine. tests/pixels.rs asks, and holds the answers against src/kernel/pixels.rs.
//
// A request: number of the kernel, images, values of an image (unsigned); six scalars (double); then its arrays.
#include "cuda_on_cpu.h"
#include "pixels.cu"

template <class T>
static std::vector<T> read(size_t n) {
  std::vector<T> values(n);
  if (n && fread(values.data(), sizeof(T), n, stdin) != n) exit(2);
  return values;
}

template <class T>
static int write(const std::vector<T>& values) {
  return fwrite(values.data(), sizeof(T), values.size(), stdout) == values.size() ? 0 : 2;
}

static int answer(const unsigned* head) {
  unsigned kernel = head[0], rows = head[1], values = head[2], count = rows * values;
  auto scalars = read<double>(6);
  const unsigned threads = 256, blocks = (count + threads - 1) / threads;
  switch (kernel) {
    case 0: case 1: {
      auto x_adv = read<float>(count), g = read<float>(count), x = read<float>(count);
      std::vector<float> to(count);
      float step_size = (float)scalars[0];
      if (kernel == 0)
        run_plain(step_linf, blocks, threads, count, x_adv.data(), g.data(), x.data(), to.data(), step_size,
                  (float)scalars[1]);
      else
        run_with_barriers(step_l2, rows, LANES, values, x_adv.data(), g.data(), x.data(), to.data(), step_size,
                          scalars[1]);
      return write(to);
    }
    case 2: {
      auto images = read<float>(count);
      auto clean = read<unsigned char>(count);
      std::vector<unsigned char> to(count);
      run_plain(round_in_ball, blocks, threads, count, images.data(), clean.data(), to.data(), (int)scalars[0]);
      return write(to);
    }
    case 3: {
      auto images = read<float>(count);
      auto clean = read<unsigned char>(count), rounded = read<unsigned char>(count);
      std::vector<unsigned> to(rows);
      // the last scalar is a whole number of 64 bits in its own form
      unsigned long long most_square;
      memcpy(&most_square, &scalars[4], 8);
      run_with_barriers(membership, rows, LANES, values, images.data(), clean.data(), rounded.data(), to.data(),
                        (int)scalars[0], scalars[1], scalars[2], (int)scalars[3], most_square);
      return write(to);
    }
    case 4: {
      auto g = read<float>(count), images = read<float>(count);
      auto rounded = read<unsigned char>(count);
      std::vector<float> to(rows);
      run_with_barriers(first_order, rows, LANES, values, g.data(), images.data(), rounded.data(), to.data());
      return write(to);
    }
    case 5: {
      auto images = read<unsigned char>(count);
      std::vector<float> to(count);
      run_plain(to_unit, blocks, threads, count, images.data(), to.data());
      return write(to);
    }
  }
  return 2;
}

int main() {
  unsigned head[3];
  while (fread(head, sizeof head, 1, stdin) == 1) {
    if (int status = answer(head)) return status;
    fflush(stdout);
  }
}
