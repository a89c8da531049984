// What a convolution is told: sizes, and where its filters lie.
#pragma once

#include <cstdint>

#define INLINE inline __attribute__((always_inline))

constexpr int FREQUENCIES = 36;  // products of a tile: 6 x 6
constexpr int TILE = 4;          // output pixels of a tile along each side

// Maps are NHWC, dense, of float32; input and output have the same height and width.
struct Shape {
    int64_t images, height, width, inputs, outputs;  // the last two: channels

    INLINE int64_t pixels() const { return images * height * width; }
    INLINE int64_t tile_rows() const { return (height + TILE - 1) / TILE; }
    INLINE int64_t tile_columns() const { return (width + TILE - 1) / TILE; }
    INLINE int64_t tiles() const { return images * tile_rows() * tile_columns(); }
};

// 3x3 filters; `first` is tap (0, 0) from input 0 to output 0, the others are steps in floats.
template <class Float> struct Filters {
    Float* first;
    int64_t output, input, row, column;
};

// The same kernels for every instruction set.
struct Form {
    const char* name;
    // Floats of memory to work in: for `convolve`, for `weight_gradient`.
    int64_t (*convolve_memory)(const Shape&, int threads);
    int64_t (*weight_gradient_memory)(const Shape&, int threads);
    // output = input * filters (+ bias, where it is not null)
    void (*convolve)(const Shape&, const float* input, const Filters<const float>&, const float* bias,
                     float* output, float* memory, int threads);
    // The gradients of the filters and (where it is not null) of the bias, from that of the output.
    void (*weight_gradient)(const Shape&, const float* input, const float* gradient, const Filters<float>&,
                            float* bias, float* memory, int threads);
};
