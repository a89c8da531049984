// The 2x2 max-pooling that follows a convolution, between the planes and maps of a quarter of the size.
//
// A 4x4 tile of the output is 2x2 pixels of the pooled one. The larger map and its gradient, which is zero for three of
// four pixels, are never in memory: beside each pooled pixel a byte says which of the four it was.
#pragma once

#include "tiles.h"

namespace FORM {

// As torch's: NaN is larger than every number, and of equals the first is taken.
INLINE Vector largest_of_four(Vector a, Vector b, Vector c, Vector d, Vector& which) {
    const Vector rest[] = {b, c, d};
    which = Vector{};
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        const Vector one = rest[i], number = all(static_cast<float>(i + 1));
        const Mask is_more = greater(one, a), is_none = is_nan(one);
        a = where(is_none, one, where(is_more, one, a));
        which = where(is_none, number, where(is_more, number, which));
    }
    return a;
}

// Writes the 2x2 pooled pixels of `count` tiles from `first` on, and which pixels they were, as far as they lie inside
// the (pooled) map.
inline void pooled_out_of_planes(const Shape& shape, const Plane& plane, const float* planes, int64_t first,
                                 int64_t count, const float* bias, const Map<float>& map, uint8_t* which) {
    const bool streams = streams_to(map, shape.images);
    for (int64_t number = 0; number < count; number++) {
        const Place place(shape, first + number);
        const int64_t top = place.top / 2, left = place.left / 2;
        const int64_t begin = ((place.image * map.height + top) * map.width + left) * map.step;
        for (int64_t vector = 0; vector < vectors(map.channels); vector++) {
            const float* from = planes + plane.offset(number, vector);
            const int lanes = lanes_of(map, vector);
            const Vector added = bias ? load(bias + vector * LANES, lanes) : Vector{};
            Vector y[TILE][TILE];
            transform<Output>(
                [&](int i, int j) __attribute__((always_inline)) {
                    return load(from + (i * 6 + j) * plane.size());
                },
                [&](int i, int j, Vector value) __attribute__((always_inline)) { y[i][j] = value; });
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++)
#pragma GCC unroll 2
                for (int j = 0; j < 2; j++) {
                    if (top + i >= map.height || left + j >= map.width) continue;
                    Vector place_of_largest;
                    const Vector largest =
                        largest_of_four(y[2 * i][2 * j], y[2 * i][2 * j + 1], y[2 * i + 1][2 * j],
                                        y[2 * i + 1][2 * j + 1], place_of_largest);
                    const int64_t at = begin + (i * map.width + j) * map.step + vector * LANES;
                    write(map.pixels + at, largest + added, lanes, streams);
                    if (lanes == LANES)
                        store_bytes(which + at, place_of_largest);
                    else
                        store_bytes(which + at, place_of_largest, lanes);
                }
        }
    }
    if (streams) end_of_stream();
}

// Writes the transforms of the gradients of `count` tiles from `first` on, from the gradient of the pooled map.
inline void pooled_into_planes(const Shape& shape, const Map<const float>& map, const uint8_t* which, int64_t first,
                               int64_t count, const Plane& plane, float* planes) {
    for (int64_t number = 0; number < count; number++) {
        const Place place(shape, first + number);
        const int64_t top = place.top / 2, left = place.left / 2;
        const int64_t begin = ((place.image * map.height + top) * map.width + left) * map.step;
        for (int64_t vector = 0; vector < vectors(map.channels); vector++) {
            const int lanes = lanes_of(map, vector);
            Vector dy[TILE][TILE];
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++)
#pragma GCC unroll 2
                for (int j = 0; j < 2; j++) {
                    const int64_t at = begin + (i * map.width + j) * map.step + vector * LANES;
                    const bool inside = top + i < map.height && left + j < map.width, whole = lanes == LANES;
                    Vector value = {}, chosen = {};
                    if (inside) value = whole ? load(map.pixels + at) : load(map.pixels + at, lanes);
                    if (inside) chosen = whole ? load_bytes(which + at) : load_bytes(which + at, lanes);
#pragma GCC unroll 4
                    for (int k = 0; k < 4; k++)
                        dy[2 * i + k / 2][2 * j + k % 2] =
                            where(equal(chosen, all(static_cast<float>(k))), value);
                }
            float* out = planes + plane.offset(number, vector);
            transform<OutputGradient>(
                [&](int i, int j) __attribute__((always_inline)) { return dy[i][j]; },
                [&](int i, int j, Vector value) __attribute__((always_inline)) {
                    store(out + (i * 6 + j) * plane.size(), value);
                });
        }
    }
}

}  // namespace FORM
