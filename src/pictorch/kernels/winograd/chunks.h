// How many tiles go through together, and who takes which.
#pragma once

#include "planes.h"
#include "shapes.h"

namespace FORM {

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t rounded_up_share(int64_t whole, int64_t parts) { return (whole + parts - 1) / parts; }
INLINE int64_t part_begin(int64_t whole, int64_t part, int64_t parts) { return whole * part / parts; }

// Tiles of a chunk: as many as the cache holds, between `low` and `high`, no more than a thread's share. Filters
// that no cache holds come from memory for each chunk, so that few large chunks are better.
inline int64_t chunk_tiles(const Shape& shape, int threads, int64_t floats_of_tile, int64_t low, int64_t high) {
    const bool filters_fit = FREQUENCIES * shape.inputs * shape.outputs <= LAST_CACHE_FLOATS;
    const int64_t fitting = filters_fit ? CACHE_FLOATS / floats_of_tile / low * low : high;
    const int64_t tiles = fitting < low ? low : least(fitting, high);
    return least(tiles, rounded_up_share(shape.tiles(), threads));
}

}  // namespace FORM
