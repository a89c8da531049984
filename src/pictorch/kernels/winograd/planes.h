// How transformed tiles and filters lie in memory: 36 planes, one for each frequency.
#pragma once

#include "vectors.h"

namespace FORM {

constexpr int PANEL = 2;          // vectors that a block of a product is wide
constexpr int64_t SPARE = 3 * 16;  // floats between planes, so that they do not share a set of the cache
constexpr int64_t CACHE_FLOATS = 224 * 1024;            // that a chunk's planes may take: 0.9 MB
constexpr int64_t LAST_CACHE_FLOATS = 4 * 1024 * 1024;  // that filters' planes or a map may take: 17 MB

INLINE int64_t rounded_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
INLINE int64_t vectors(int64_t channels) { return (channels + LANES - 1) / LANES; }

// A matrix of `rows` x `channels` cut into panels of `wide` vectors; a panel holds its rows one after the other,
// so that a product reads both factors in the order of memory. The last panel may be narrower.
struct Plane {
    int64_t rows, channels;
    int wide;

    INLINE int64_t width(int64_t vector) const {  // of the panel of a vector, in vectors
        const int64_t left = vectors(channels) - vector / wide * wide;
        return left < wide ? left : wide;
    }
    INLINE int64_t offset(int64_t row, int64_t vector) const {  // in floats
        const int64_t panel = vector / wide * wide;
        return (panel * rows + row * width(vector) + (vector - panel)) * LANES;
    }
    INLINE int64_t size() const { return rounded_up(rows * vectors(channels) * LANES, 16) + SPARE; }
    INLINE int64_t all_size() const { return FREQUENCIES * size(); }
};

}  // namespace FORM
