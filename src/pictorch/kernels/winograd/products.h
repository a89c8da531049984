// The 36 small products, one for each frequency: sums over channels, or over tiles for the filters' gradient.
//
// A block of the result stays in registers while both factors stream past it, each in the order of memory
// (Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008).
#pragma once

#include <utility>

#include "planes.h"

namespace FORM {

// Asks for floats that are soon needed: to be added to, or (from the second-level cache) of the next panel.
template <int FLOATS> INLINE void prefetch_result(float* from) {
    for (int at = 0; at < FLOATS; at += 16) __builtin_prefetch(from + at, 1, 3);
}
template <int FLOATS> INLINE void prefetch_panel(const float* from) {
    for (int at = 0; at < FLOATS; at += 16) __builtin_prefetch(from + at, 0, 2);
}

// result[R][V] = left[R][depth] * right[depth][V], V in vectors; left lies in panels of one vector.
template <int R, int V>
void block(int64_t depth, const float* left, int64_t left_panel, const float* right, float* result) {
    Vector sums[R][V] = {};
    for (int64_t at = 0; at < depth; at += LANES, left += left_panel) {
        const int64_t steps = depth - at < LANES ? depth - at : LANES;
#pragma GCC unroll 4
        for (int64_t k = 0; k < steps; k++, right += V * LANES) {
            prefetch_panel<V * LANES>(right + depth * V * LANES);
            Vector factors[V];
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) factors[v] = load(right + v * LANES);
#pragma GCC unroll 14
            for (int r = 0; r < R; r++) {
                const Vector factor = all(left[r * LANES + k]);
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) sums[r][v] += factor * factors[v];
            }
        }
    }
#pragma GCC unroll 14
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) store(result + (r * V + v) * LANES, sums[r][v]);
}

using Block = void (*)(int64_t, const float*, int64_t, const float*, float*);
template <int V, int... R> INLINE Block block_of(int64_t rows, std::integer_sequence<int, R...>) {
    static constexpr Block BLOCKS[] = {block<R + 1, V>...};
    return BLOCKS[rows - 1];
}

template <int V>
INLINE void panel_product(int64_t depth, const float* left, const Plane& left_plane, const float* right,
                          float* result) {
    const int64_t rows = left_plane.rows, blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    for (int64_t i = 0; i < blocks; i++) {  // of equal heights, or of heights that differ by one
        const int64_t begin = rows * i / blocks, end = rows * (i + 1) / blocks;
        const Block function = block_of<V>(end - begin, std::make_integer_sequence<int, BLOCK_ROWS>());
        function(depth, left + begin * LANES, rows * LANES, right, result + begin * V * LANES);
    }
}

// result = left * right for the vectors [begin, end) of the result, `begin` a multiple of PANEL.
inline void product(const float* left, const Plane& left_plane, const float* right, const Plane& right_plane,
                    float* result, const Plane& result_plane, int64_t begin, int64_t end) {
    const int64_t depth = left_plane.channels;
    for (int64_t vector = begin; vector < end; vector += PANEL) {
        const float* panel = right + right_plane.offset(0, vector);
        float* to = result + result_plane.offset(0, vector - begin);
        if (right_plane.width(vector) == PANEL)
            panel_product<PANEL>(depth, left, left_plane, panel, to);
        else
            panel_product<1>(depth, left, left_plane, panel, to);
    }
}

// Of the transposed product a block is half a vector of rows high, so that none crosses a panel of the left.
constexpr int TURNED_ROWS = LANES / 2;

// result[R][V] += left[depth][R]' * right[depth][V]; left lies in panels of one vector.
template <int V> INLINE void turned_block(int64_t depth, const float* left, const float* right, float* result) {
    constexpr int R = TURNED_ROWS;
    Vector sums[R][V] = {};
    prefetch_result<R * V * LANES>(result);
#pragma GCC unroll 4
    for (int64_t k = 0; k < depth; k++, left += LANES, right += V * LANES) {
        Vector factors[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) factors[v] = load(right + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const Vector factor = all(left[r]);
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sums[r][v] += factor * factors[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) {
            float* to = result + (r * V + v) * LANES;
            store(to, load(to) + sums[r][v]);
        }
}

// result += left' * right, summed over the first `depth` rows of both.
inline void turned_product(int64_t depth, const float* left, const Plane& left_plane, const float* right,
                           const Plane& right_plane, float* result, const Plane& result_plane) {
    for (int64_t vector = 0; vector < vectors(right_plane.channels); vector += PANEL) {
        const int64_t width = right_plane.width(vector);
        const float* panel = right + right_plane.offset(0, vector);
        for (int64_t row = 0; row < left_plane.channels; row += TURNED_ROWS) {
            const float* from = left + left_plane.offset(0, row / LANES) + row % LANES;
            float* to = result + result_plane.offset(row, vector);
            if (width == PANEL)
                turned_block<PANEL>(depth, from, panel, to);
            else
                turned_block<1>(depth, from, panel, to);
        }
    }
}

}  // namespace FORM
