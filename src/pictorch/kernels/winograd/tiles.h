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

// Whether a map should be written past the caches: none can hold it until somebody reads it, and lines are whole.
inline bool streams_to(const Map<float>& map, int64_t images) {
    const bool aligned = reinterpret_cast<uintptr_t>(map.pixels) % 64 == 0 && map.step % 16 == 0;
    return aligned && images * map.height * map.width * map.step > LAST_CACHE_FLOATS;
}

// Of the vectors of a map's channels, how many lanes of this one hold channels.
template <class Float> INLINE int lanes_of(const Map<Float>& map, int64_t vector) {
    const int64_t left = map.channels - vector * LANES;
    return static_cast<int>(left < LANES ? left : LANES);
}

// With `streams` all vectors are whole.
INLINE void write(float* to, Vector value, int lanes, bool streams) {
    if (streams)
        stream(to, value);
    else if (lanes == LANES)
        store(to, value);
    else
        store(to, value, lanes);
}

// Writes the 4x4 output pixels of `count` tiles from `first` on, as far as they lie inside the map.
inline void out_of_planes(const Shape& shape, const Plane& plane, const float* planes, int64_t first,
                          int64_t count, const float* bias, const Map<float>& map) {
    const bool streams = streams_to(map, shape.images);
    for (int64_t number = 0; number < count; number++) {
        const Place place(shape, first + number);
        const int64_t rows = map.height - place.top < TILE ? map.height - place.top : TILE;
        const int64_t columns = map.width - place.left < TILE ? map.width - place.left : TILE;
        float* begin = map.pixels + ((place.image * map.height + place.top) * map.width + place.left) * map.step;
        for (int64_t vector = 0; vector < vectors(map.channels); vector++) {
            const float* from = planes + plane.offset(number, vector);
            const int lanes = lanes_of(map, vector);
            const Vector added = bias ? load(bias + vector * LANES, lanes) : Vector{};
            const auto at = [&](int i, int j) __attribute__((always_inline)) {
                return load(from + (i * 6 + j) * plane.size());
            };
            float* to = begin + vector * LANES;
            transform<Output>(at, [&](int i, int j, Vector value) __attribute__((always_inline)) {
                if (i >= rows || j >= columns) return;
                write(to + (i * map.width + j) * map.step, value + added, lanes, streams);
            });
        }
    }
    if (streams) end_of_stream();
}

// Adds up 6x6 pixels of `count` tiles from `first` on, as far as they lie inside the map. Tiles overlap by two pixels;
// those of an image must come in their order, for the first that reaches a pixel writes it.
inline void add_out_of_planes(const Shape& shape, const Plane& plane, const float* planes, int64_t first,
                              int64_t count, const Map<float>& map) {
    for (int64_t number = 0; number < count; number++) {
        const Place place(shape, first + number);
        const int64_t top = place.top - 1, left = place.left - 1;
        const int64_t begin = ((place.image * map.height + top) * map.width + left) * map.step;
        const bool below = place.top > 0, beside = place.left > 0;
        for (int64_t vector = 0; vector < vectors(map.channels); vector++) {
            const float* from = planes + plane.offset(number, vector);
            const int lanes = lanes_of(map, vector);
            const auto at = [&](int i, int j) __attribute__((always_inline)) {
                return load(from + (i * 6 + j) * plane.size());
            };
            transform<InputGradient>(at, [&](int i, int j, Vector value) __attribute__((always_inline)) {
                if (top + i < 0 || top + i >= map.height || left + j < 0 || left + j >= map.width) return;
                float* to = map.pixels + begin + (i * map.width + j) * map.step + vector * LANES;
                const bool written = (below && i < 2) || (beside && j < 2);
                if (written) value += lanes == LANES ? load(to) : load(to, lanes);
                write(to, value, lanes, false);
            });
        }
    }
}

}  // namespace FORM
