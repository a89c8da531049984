// Between maps (NHWC) and the 36 planes of transformed tiles.
#pragma once

#include "planes.h"
#include "shapes.h"
#include "transforms.h"

namespace FORM {

// Some channels of a map, `step` floats from pixel to pixel.
template <class Float> struct Map {
    Float* pixels;
    int64_t height, width, channels, step;
};

// Where tile `number` begins: its first output pixel.
struct Place {
    int64_t image, top, left;
    Place(const Shape& shape, int64_t number)
        : image(number / (shape.tile_rows() * shape.tile_columns())),
          top(number / shape.tile_columns() % shape.tile_rows() * TILE),
          left(number % shape.tile_columns() * TILE) {}
};

// Writes the transforms of `count` tiles from `first` on; a tile covers Transform::FROM x FROM pixels and begins
// `border` pixels above and left of its place. What lies outside the map is read from `zeros`.
template <class Transform>
void into_planes(const Shape& shape, const Map<const float>& map, int border, int64_t first, int64_t count,
                 const float* zeros, const Plane& plane, float* planes) {
    constexpr int SIDE = Transform::FROM;
    for (int64_t number = 0; number < count; number++) {
        const Place place(shape, first + number);
        const float* pixels[SIDE][SIDE];
        for (int i = 0; i < SIDE; i++) {
            const int64_t row = place.top - border + i;
            const float* begin = map.pixels + (place.image * map.height + row) * map.width * map.step;
            for (int j = 0; j < SIDE; j++) {
                const int64_t column = place.left - border + j;
                const bool inside = row >= 0 && row < map.height && column >= 0 && column < map.width;
                pixels[i][j] = inside ? begin + column * map.step : zeros;
            }
        }
        const int64_t whole = map.channels / LANES;
        const int rest = static_cast<int>(map.channels % LANES);
        for (int64_t vector = 0; vector < vectors(map.channels); vector++) {
            float* out = planes + plane.offset(number, vector);
            const auto to = [&](int i, int j, Vector value) __attribute__((always_inline)) {
                store(out + (i * 6 + j) * plane.size(), value);
            };
            const auto at = [&](int i, int j) __attribute__((always_inline)) {
                return pixels[i][j] + vector * LANES;
            };
            if (vector < whole)
                transform<Transform>([&](int i, int j) __attribute__((always_inline)) { return load(at(i, j)); },
                                     to);
            else
                transform<Transform>(
                    [&](int i, int j) __attribute__((always_inline)) { return load(at(i, j), rest); }, to);
        }
    }
}

// Writes the 4x4 output pixels of `count` tiles from `first` on, as far as they lie inside the map. `past_caches` is
// for maps that no cache can hold until somebody reads them.
inline void out_of_planes(const Shape& shape, const Plane& plane, const float* planes, int64_t first,
                          int64_t count, const float* bias, const Map<float>& map, bool past_caches) {
    const bool aligned = reinterpret_cast<uintptr_t>(map.pixels) % 64 == 0 && map.step % 16 == 0;
    const bool streams = past_caches && aligned;
    for (int64_t number = 0; number < count; number++) {
        const Place place(shape, first + number);
        const int64_t rows = map.height - place.top < TILE ? map.height - place.top : TILE;
        const int64_t columns = map.width - place.left < TILE ? map.width - place.left : TILE;
        float* begin = map.pixels + ((place.image * map.height + place.top) * map.width + place.left) * map.step;
        for (int64_t vector = 0; vector < vectors(map.channels); vector++) {
            const float* from = planes + plane.offset(number, vector);
            const int64_t left = map.channels - vector * LANES;
            const int lanes = static_cast<int>(left < LANES ? left : LANES);
            const Vector added = bias ? load(bias + vector * LANES, lanes) : Vector{};
            const auto at = [&](int i, int j) __attribute__((always_inline)) {
                return load(from + (i * 6 + j) * plane.size());
            };
            float* to = begin + vector * LANES;
            transform<Output>(at, [&](int i, int j, Vector value) __attribute__((always_inline)) {
                if (i >= rows || j >= columns) return;
                float* pixel = to + (i * map.width + j) * map.step;
                if (streams)  // then all vectors are whole
                    stream(pixel, value + added);
                else if (lanes == LANES)
                    store(pixel, value + added);
                else
                    store(pixel, value + added, lanes);
            });
        }
    }
    if (streams) end_of_stream();
}

}  // namespace FORM
