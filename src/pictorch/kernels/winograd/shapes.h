// What a convolution is told: sizes, and where its filters lie.
#pragma once

#include <cstdint>

#define INLINE inline __attribute__((always_inline))

constexpr int FREQUENCIES = 36;  // products of a tile: 6 x 6
constexpr int TILE = 4;          // output pixels of a tile along each side

// Maps are NHWC, dense, of float32; input and output have the same height and width, or the output is `pooled`: of
// each 2x2 pixels the largest, and beside it a byte that says which, row by row. A last odd row or column is left out.
struct Shape {
    int64_t images, height, width, inputs, outputs;  // the last two: channels
    bool pooled;

    INLINE int64_t output_height() const { return pooled ? height / 2 : height; }
    INLINE int64_t output_width() const { return pooled ? width / 2 : width; }
    INLINE int64_t output_pixels() const { return images * output_height() * output_width(); }
    INLINE int64_t tile_rows() const { return tiles_along(height); }
    INLINE int64_t tile_columns() const { return tiles_along(width); }
    INLINE int64_t image_tiles() const { return tile_rows() * tile_columns(); }
    INLINE int64_t tiles() const { return images * image_tiles(); }

  private:
    INLINE int64_t tiles_along(int64_t side) const { return ((pooled ? side / 2 * 2 : side) + TILE - 1) / TILE; }
};

// 3x3 filters; `first` is tap (0, 0) from input 0 to output 0, the others are steps in floats.
template <class Float> struct Filters {
    Float* first;
    int64_t output, input, row, column;
};

// The same kernels for every instruction set.
struct Form {
    const char* name;
    // Floats of memory to work in: for each of the three.
    int64_t (*convolve_memory)(const Shape&, int threads);
    int64_t (*input_gradient_memory)(const Shape&, int threads);
    int64_t (*weight_gradient_memory)(const Shape&, int threads);
    // output = input * filters (+ bias, where it is not null); `which` is null unless the output is pooled
    void (*convolve)(const Shape&, const float* input, const Filters<const float>&, const float* bias,
                     float* output, uint8_t* which, float* memory, int threads);
    // The gradient of the input from that of the output.
    void (*input_gradient)(const Shape&, const float* gradient, const uint8_t* which,
                           const Filters<const float>&, float* output, float* memory, int threads);
    // The gradients of the filters and (where it is not null) of the bias, from that of the output.
    void (*weight_gradient)(const Shape&, const float* input, const float* gradient, const uint8_t* which,
                            const Filters<float>&, float* bias, float* memory, int threads);
};
