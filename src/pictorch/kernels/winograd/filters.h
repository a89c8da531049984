// Between 3x3 filters and the 36 planes of their transforms: rows are input channels, vectors output channels.
#pragma once

#include "planes.h"
#include "shapes.h"
#include "transforms.h"

namespace FORM {

// Transforms the filters of the input channels [begin, end).
inline void filters_into_planes(const Filters<const float>& filters, int64_t begin, int64_t end,
                                const Plane& plane, float* planes) {
    for (int64_t vector = 0; vector < vectors(plane.channels); vector++) {
        const int64_t left = plane.channels - vector * LANES, lanes = left < LANES ? left : LANES;
        for (int64_t input = begin; input < end; input++) {
            alignas(64) float taps[3][3][LANES] = {};
            const float* from = filters.first + vector * LANES * filters.output + input * filters.input;
            for (int64_t lane = 0; lane < lanes; lane++, from += filters.output)
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) taps[i][j][lane] = from[i * filters.row + j * filters.column];
            float* out = planes + plane.offset(input, vector);
            transform<Filter>(
                [&](int i, int j) __attribute__((always_inline)) { return load(taps[i][j]); },
                [&](int i, int j, Vector value) __attribute__((always_inline)) {
                    store(out + (i * 6 + j) * plane.size(), value);
                });
        }
    }
}

// Writes the filters of the input channels [begin, end) and the output channels from `first` on.
// `parts` sets of planes, `part_step` floats apart, are added in their order.
inline void planes_into_filters(const Plane& plane, const float* planes, int parts, int64_t part_step,
                                int64_t begin, int64_t end, int64_t first, const Filters<float>& filters) {
    for (int64_t vector = 0; vector < vectors(plane.channels); vector++) {
        const int64_t left = plane.channels - vector * LANES, lanes = left < LANES ? left : LANES;
        for (int64_t input = begin; input < end; input++) {
            alignas(64) float taps[3][3][LANES];
            const float* from = planes + plane.offset(input, vector);
            transform<FilterGradient>(
                [&](int i, int j) __attribute__((always_inline)) {
                    const float* at = from + (i * 6 + j) * plane.size();
                    Vector sum = load(at);
                    for (int part = 1; part < parts; part++) sum += load(at + part * part_step);
                    return sum;
                },
                [&](int i, int j, Vector value) __attribute__((always_inline)) { store(taps[i][j], value); });
            float* to = filters.first + (first + vector * LANES) * filters.output + input * filters.input;
            for (int64_t lane = 0; lane < lanes; lane++, to += filters.output)
                for (int i = 0; i < 3; i++)
                    for (int j = 0; j < 3; j++) to[i * filters.row + j * filters.column] = taps[i][j][lane];
        }
    }
}

}  // namespace FORM
