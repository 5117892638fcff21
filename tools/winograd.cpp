// Winograd's convolution F(4x4, 3x3) in fp32 with AVX-512, or AVX2 and FMA: 3x3 kernels, stride 1, channels last.
//
// Lavin and Gray: Fast Algorithms for Convolutional Neural Networks (arXiv:1509.09308). Four by four output
// pixels take 36 products instead of 144. Tiles are worked off in blocks whose transforms stay in the cache;
// for each of the 36 places of a tile a block is one small matrix product over the channels.
//
// Channels are multiples of 16; winograd.py sees to that.

#include <ATen/Parallel.h>
#include <immintrin.h>
#include <torch/extension.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

using at::Tensor;

namespace {

#ifdef __AVX512F__
using Vector = __m512;
Vector load(const float* from) { return _mm512_loadu_ps(from); }
Vector all(float value) { return _mm512_set1_ps(value); }
Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
Vector times(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
Vector plus_times(Vector c, Vector a, Vector b) { return _mm512_fmadd_ps(a, b, c); }
void store(float* to, Vector v) { _mm512_storeu_ps(to, v); }
constexpr int kRows = 12, kOuterRows = 8;  // of a product that is held in registers
#else
using Vector = __m256;
Vector load(const float* from) { return _mm256_loadu_ps(from); }
Vector all(float value) { return _mm256_set1_ps(value); }
Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
Vector times(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
Vector plus_times(Vector c, Vector a, Vector b) { return _mm256_fmadd_ps(a, b, c); }
void store(float* to, Vector v) { _mm256_storeu_ps(to, v); }
constexpr int kRows = 6, kOuterRows = 4;
#endif

constexpr int kLanes = sizeof(Vector) / sizeof(float);  // channels in one vector
constexpr int kPart = 16;                                // channels that lie together in transformed weights
constexpr int kTile = 4, kWindow = 6, kPlaces = kWindow * kWindow;
constexpr int kBlock = 36;  // tiles worked off at once, a multiple of kRows

// Channels of a block at one place of its tiles. 16 more than needed, or all places would share one cache set.
int64_t plane(int64_t channels) { return kBlock * channels + 16; }

struct Images {
  int64_t height, width, channels;
  explicit Images(const Tensor& x) : height(x.size(2)), width(x.size(3)), channels(x.size(1)) {}
  int64_t at(int64_t n, int64_t y, int64_t x) const { return ((n * height + y) * width + x) * channels; }
  bool holds(int64_t y, int64_t x) const { return y >= 0 && y < height && x >= 0 && x < width; }
};

// The tiles of output images.
struct Tiles {
  int64_t images, rows, columns;
  explicit Tiles(const Tensor& y)
      : images(y.size(0)), rows((y.size(2) + kTile - 1) / kTile), columns((y.size(3) + kTile - 1) / kTile) {}
  int64_t count() const { return images * rows * columns; }
  int64_t blocks() const { return (count() + kBlock - 1) / kBlock; }
  int in_block(int64_t block) const { return std::min<int64_t>(kBlock, count() - block * kBlock); }
  std::tuple<int64_t, int64_t, int64_t> corner(int64_t tile) const {
    const int64_t place = tile % (rows * columns);
    return {tile / (rows * columns), place / columns * kTile, place % columns * kTile};
  }
};

Vector zero() { return all(0); }
Vector times(float a, Vector b) { return times(all(a), b); }
Vector plus_times(Vector c, float a, Vector b) { return plus_times(c, all(a), b); }

// o = B^T d: the transform of an input window along one side; o has the given step.
void window(const Vector* d, Vector* o, int step) {
  const Vector a = plus_times(d[4], -4, d[2]), b = plus_times(d[3], -4, d[1]);
  const Vector c = sub(d[4], d[2]), e = times(2, sub(d[3], d[1]));
  o[0] = plus_times(plus_times(d[4], -5, d[2]), 4, d[0]);
  o[step] = add(a, b);
  o[2 * step] = sub(a, b);
  o[3 * step] = add(c, e);
  o[4 * step] = sub(c, e);
  o[5 * step] = plus_times(plus_times(d[5], -5, d[3]), 4, d[1]);
}

// o = A^T m: back to output pixels along one side.
void pixels(const Vector* m, Vector* o, int step) {
  const Vector a = add(m[1], m[2]), b = sub(m[1], m[2]), c = add(m[3], m[4]), d = sub(m[3], m[4]);
  o[0] = add(m[0], add(a, c));
  o[step] = plus_times(b, 2, d);
  o[2 * step] = plus_times(a, 4, c);
  o[3 * step] = add(plus_times(b, 8, d), m[5]);
}

// o = A y: the transpose of `pixels`, for gradients of output pixels.
void gradient(const Vector* y, Vector* o, int step) {
  const Vector even = add(y[0], y[2]), odd = add(y[1], y[3]);
  const Vector e = plus_times(y[0], 4, y[2]), d = plus_times(times(2, y[1]), 8, y[3]);
  o[0] = y[0];
  o[step] = add(even, odd);
  o[2 * step] = sub(even, odd);
  o[3 * step] = add(e, d);
  o[4 * step] = sub(e, d);
  o[5 * step] = y[3];
}

void clear_rest(float* block, int64_t channels, int count) {
  for (int place = 0; place < kPlaces; place++) {
    float* at = block + place * plane(channels);
    std::fill(at + count * channels, at + kBlock * channels, 0.0f);
  }
}

// The windows of a block of tiles of x, which has `border` pixels of zeros around it: (36, kBlock, channels).
void take_windows(const float* x, const Images& images, const Tiles& tiles, int64_t block, int border, float* o) {
  const int64_t channels = images.channels;
  const int count = tiles.in_block(block);
  for (int i = 0; i < count; i++) {
    const auto [n, top, left] = tiles.corner(block * kBlock + i);
    for (int64_t c = 0; c < channels; c += kLanes) {
      Vector half[kPlaces], d[kWindow], row[kWindow];
      for (int q = 0; q < kWindow; q++) {
        for (int r = 0; r < kWindow; r++) {
          const int64_t py = top + r - border, px = left + q - border;
          d[r] = images.holds(py, px) ? load(x + images.at(n, py, px) + c) : zero();
        }
        window(d, half + q, kWindow);
      }
      for (int r = 0; r < kWindow; r++) {
        window(half + kWindow * r, row, 1);
        for (int q = 0; q < kWindow; q++) store(o + (kWindow * r + q) * plane(channels) + i * channels + c, row[q]);
      }
    }
  }
  clear_rest(o, channels, count);
}

// The same of the gradient of the output; its sum is added to `sum` (channels).
void take_gradients(const float* g, const Images& images, const Tiles& tiles, int64_t block, float* o, float* sum) {
  const int64_t channels = images.channels;
  const int count = tiles.in_block(block);
  for (int i = 0; i < count; i++) {
    const auto [n, top, left] = tiles.corner(block * kBlock + i);
    for (int64_t c = 0; c < channels; c += kLanes) {
      Vector half[kWindow * kTile], y[kTile], row[kWindow], total = load(sum + c);
      for (int q = 0; q < kTile; q++) {
        for (int r = 0; r < kTile; r++) {
          y[r] = images.holds(top + r, left + q) ? load(g + images.at(n, top + r, left + q) + c) : zero();
          total = add(total, y[r]);
        }
        gradient(y, half + q, kTile);
      }
      store(sum + c, total);
      for (int r = 0; r < kWindow; r++) {
        gradient(half + kTile * r, row, 1);
        for (int q = 0; q < kWindow; q++) store(o + (kWindow * r + q) * plane(channels) + i * channels + c, row[q]);
      }
    }
  }
  clear_rest(o, channels, count);
}

// Turns products (36, kBlock, channels) into pixels of y, plus a constant where there is one.
void put_pixels(const float* m, const Images& images, const Tiles& tiles, int64_t block, const float* bias, float* y) {
  const int64_t channels = images.channels;
  for (int i = 0; i < tiles.in_block(block); i++) {
    const auto [n, top, left] = tiles.corner(block * kBlock + i);
    for (int64_t c = 0; c < channels; c += kLanes) {
      const Vector constant = bias ? load(bias + c) : zero();
      Vector half[kTile * kWindow], d[kWindow], row[kTile];
      for (int q = 0; q < kWindow; q++) {
        for (int r = 0; r < kWindow; r++) d[r] = load(m + (kWindow * r + q) * plane(channels) + i * channels + c);
        pixels(d, half + q, kWindow);
      }
      for (int r = 0; r < kTile && top + r < images.height; r++) {
        pixels(half + kWindow * r, row, 1);
        for (int q = 0; q < kTile && left + q < images.width; q++)
          store(y + images.at(n, top + r, left + q) + c, add(row[q], constant));
      }
    }
  }
}

// Values (row, k) of a matrix of which only these two steps are known.
struct Left {
  const float* values;
  int64_t row_step, step;
};

// Vectors of channels (k, j), which are `step` and `next` apart.
struct Right {
  const float* values;
  int64_t step, next;
};

// o (rows, vectors) += a (rows, depth) b (depth, vectors); rows of o are `o_step` apart.
template <int rows, int vectors>
void add_product(const Left& a, const Right& b, int64_t depth, float* o, int64_t o_step) {
  Vector sum[rows][vectors];
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < vectors; j++) sum[i][j] = load(o + i * o_step + j * kLanes);
  for (int64_t k = 0; k < depth; k++) {
    Vector values[vectors];
    for (int j = 0; j < vectors; j++) values[j] = load(b.values + k * b.step + j * b.next);
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++) {
      const Vector x = all(a.values[i * a.row_step + k * a.step]);
      for (int j = 0; j < vectors; j++) sum[i][j] = plus_times(sum[i][j], x, values[j]);
    }
  }
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < vectors; j++) store(o + i * o_step + j * kLanes, sum[i][j]);
}

// Calls work(first channel, vectors) for all channels, two vectors at a time where there are two.
template <typename Work>
void in_pairs(int64_t channels, const Work& work) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) work(c, std::integral_constant<int, 2>());
  for (; c < channels; c += kLanes) work(c, std::integral_constant<int, 1>());
}

void require(const Tensor& x) {
  TORCH_CHECK(x.scalar_type() == at::kFloat && x.is_contiguous(at::MemoryFormat::ChannelsLast),
              "Winograd's convolution takes fp32 in channels_last.");
}

}  // namespace

// x (N, C, H, W) by transformed weights (36, K / 16, C, 16) to (N, K, H + 2 border - 2, W + 2 border - 2).
Tensor convolve(const Tensor& x, const Tensor& weights, const std::optional<Tensor>& bias, int64_t border) {
  require(x);
  TORCH_CHECK(weights.is_contiguous() && x.size(1) % 16 == 0);
  const int64_t channels = kPart * weights.size(1);
  Tensor y = at::empty({x.size(0), channels, x.size(2) + 2 * border - 2, x.size(3) + 2 * border - 2}, x.options(),
                       at::MemoryFormat::ChannelsLast);
  const Images in(x), out(y);
  const Tiles tiles(y);
  const float *from = x.data_ptr<float>(), *u = weights.data_ptr<float>();
  const float* constant = bias ? bias->data_ptr<float>() : nullptr;
  float* to = y.data_ptr<float>();
  at::parallel_for(0, tiles.blocks(), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> windows(kPlaces * plane(in.channels)), products(kPlaces * plane(channels));
    for (int64_t block = begin; block < end; block++) {
      take_windows(from, in, tiles, block, border, windows.data());
      for (int64_t place = 0; place < kPlaces; place++) {
        const float *a = windows.data() + place * plane(in.channels), *b = u + place * channels * in.channels;
        float* o = products.data() + place * plane(channels);
        std::fill(o, o + kBlock * channels, 0.0f);
        in_pairs(channels, [&](int64_t c, auto vectors) {
          const int64_t part = c / kPart * kPart * in.channels + c % kPart;
          const int64_t next = kLanes < kPart ? kLanes : kPart * in.channels;
          for (int i = 0; i < kBlock; i += kRows)
            add_product<kRows, vectors>({a + i * in.channels, in.channels, 1}, {b + part, kPart, next}, in.channels,
                                        o + i * channels + c, channels);
        });
      }
      put_pixels(products.data(), out, tiles, block, constant, to);
    }
  });
  return y;
}

// The gradients of transformed weights, (36, C, K), and of the constants, (K), for input x and gradient g.
std::tuple<Tensor, Tensor> weight_gradient(const Tensor& x, const Tensor& g, int64_t border) {
  require(x);
  require(g);
  TORCH_CHECK(x.size(1) % 16 == 0 && g.size(1) % 16 == 0);
  const Images in(x), out(g);
  const Tiles tiles(g);
  const int64_t channels = in.channels, parts = at::get_num_threads();
  Tensor weights = at::zeros({parts, kPlaces, channels, out.channels}, x.options());
  Tensor bias = at::zeros({parts, out.channels}, x.options());
  const float *from = x.data_ptr<float>(), *gradients = g.data_ptr<float>();
  float *sums = weights.data_ptr<float>(), *constants = bias.data_ptr<float>();
  at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> a(kPlaces * plane(channels)), b(kPlaces * plane(out.channels));
    for (int64_t part = begin; part < end; part++) {
      for (int64_t block = tiles.blocks() * part / parts; block < tiles.blocks() * (part + 1) / parts; block++) {
        take_windows(from, in, tiles, block, border, a.data());
        take_gradients(gradients, out, tiles, block, b.data(), constants + part * out.channels);
        for (int64_t place = 0; place < kPlaces; place++) {
          const float *left = a.data() + place * plane(channels), *right = b.data() + place * plane(out.channels);
          float* o = sums + ((part * kPlaces + place) * channels) * out.channels;
          in_pairs(out.channels, [&](int64_t c, auto vectors) {
            for (int64_t i = 0; i < channels; i += kOuterRows)
              add_product<kOuterRows, vectors>({left + i, 1, channels}, {right + c, out.channels, kLanes}, kBlock,
                                               o + i * out.channels + c, out.channels);
          });
        }
      }
    }
  });
  return {weights.sum(0), bias.sum(0)};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  module.def("convolve", &convolve);
  module.def("weight_gradient", &weight_gradient);
}
