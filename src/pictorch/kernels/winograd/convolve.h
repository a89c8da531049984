// output = input * filters, and the gradient of the input as its exact adjoint.
#pragma once

#include "chunks.h"
#include "filters.h"
#include "pooling.h"
#include "products.h"
#include "threads.h"
#include "tiles.h"

namespace FORM {

constexpr int64_t SLAB = 4 * PANEL;  // vectors of result channels that are multiplied and transformed together

// Planes of `inputs` channels become planes of `outputs` channels, `chunk` tiles at a time.
struct Forward {
    int64_t outputs;
    Plane input, filter, output;
    int64_t chunk, thread_floats;

    Forward(const Shape& shape, int64_t inputs, int64_t outputs, int threads) : outputs(outputs) {
        const int64_t slab = least(vectors(outputs), SLAB) * LANES;
        const int64_t tile = FREQUENCIES * (vectors(inputs) * LANES + slab);
        chunk = chunk_tiles(shape, threads, tile, 2 * BLOCK_ROWS, 8 * BLOCK_ROWS);
        input = {chunk, inputs, 1};
        filter = {inputs, outputs, PANEL};
        output = {chunk, slab, PANEL};
        thread_floats = input.all_size() + output.all_size();
    }
    int64_t zeros() const { return vectors(input.channels) * LANES; }
    int64_t floats(int threads) const { return filter.all_size() + zeros() + threads * thread_floats; }
};

inline void transform_filters(const Forward& plan, const Filters<const float>& filters, float* planes,
                              int threads) {
    in_parallel(threads, [&](int part) {
        filters_into_planes(filters, part_begin(plan.filter.rows, part, threads),
                            part_begin(plan.filter.rows, part + 1, threads), plan.filter, planes);
    });
}

// Calls into(plane, planes), multiplies, and calls out_of(plane, planes, first channel) for each slab of the result.
template <class Into, class OutOf>
INLINE void multiply_chunk(const Forward& plan, int64_t tiles, const float* filters, float* memory,
                           const Into& into, const OutOf& out_of) {
    const Plane in{tiles, plan.input.channels, 1};
    float* products = memory + plan.input.all_size();
    into(in, memory);
    for (int64_t begin = 0; begin < vectors(plan.outputs); begin += SLAB) {
        const int64_t end = least(begin + SLAB, vectors(plan.outputs)), channel = begin * LANES;
        const Plane out{tiles, least(end * LANES, plan.outputs) - channel, PANEL};
        for (int f = 0; f < FREQUENCIES; f++)
            product(memory + f * in.size(), in, filters + f * plan.filter.size(), plan.filter,
                    products + f * out.size(), out, begin, end);
        out_of(out, products, channel);
    }
}

inline int64_t convolve_memory(const Shape& shape, int threads) {
    return Forward(shape, shape.inputs, shape.outputs, threads).floats(threads);
}

inline void convolve(const Shape& shape, const float* input, const Filters<const float>& filters,
                     const float* bias, float* output, uint8_t* which, float* memory, int threads) {
    const Forward plan(shape, shape.inputs, shape.outputs, threads);
    float *zeros = memory + plan.filter.all_size(), *scratch = zeros + plan.zeros();
    for (int64_t i = 0; i < plan.zeros(); i++) zeros[i] = 0;
    transform_filters(plan, filters, memory, threads);
    const Map<const float> from{input, shape.height, shape.width, shape.inputs, shape.inputs};
    int64_t next = 0;  // the first tile that nobody has taken
    in_parallel(threads, [&](int part) {
        for (;;) {
            const int64_t first = __atomic_fetch_add(&next, plan.chunk, __ATOMIC_RELAXED);
            if (first >= shape.tiles()) return;
            const int64_t count = least(plan.chunk, shape.tiles() - first);
            multiply_chunk(
                plan, count, memory, scratch + part * plan.thread_floats,
                [&](const Plane& plane, float* planes) {
                    into_planes<Input>(shape, from, 1, first, count, zeros, plane, planes);
                },
                [&](const Plane& plane, const float* planes, int64_t channel) {
                    const Map<float> to{output + channel, shape.output_height(), shape.output_width(),
                                        plane.channels, shape.outputs};
                    const float* added = bias ? bias + channel : nullptr;
                    if (shape.pooled)
                        pooled_out_of_planes(shape, plane, planes, first, count, added, to, which + channel);
                    else
                        out_of_planes(shape, plane, planes, first, count, added, to);
                });
        }
    });
}

inline int64_t input_gradient_memory(const Shape& shape, int threads) {
    return Forward(shape, shape.outputs, shape.inputs, threads).floats(threads);
}

inline void input_gradient(const Shape& shape, const float* gradient, const uint8_t* which,
                           const Filters<const float>& filters, float* output, float* memory, int threads) {
    if (shape.images < threads && !shape.pooled) {  // the same as a convolution, which divides images too
        const Shape turned{shape.images, shape.height, shape.width, shape.outputs, shape.inputs, false};
        const float* last = filters.first + 2 * filters.row + 2 * filters.column;
        return convolve(turned, gradient, {last, filters.input, filters.output, -filters.row, -filters.column},
                        nullptr, output, nullptr, memory, threads);
    }
    const Forward plan(shape, shape.outputs, shape.inputs, threads);
    float *zeros = memory + plan.filter.all_size(), *scratch = zeros + plan.zeros();
    for (int64_t i = 0; i < plan.zeros(); i++) zeros[i] = 0;
    transform_filters(plan, {filters.first, filters.input, filters.output, filters.row, filters.column}, memory,
                      threads);
    const Map<const float> from{gradient, shape.output_height(), shape.output_width(), shape.outputs,
                                shape.outputs};
    // Tiles of an image overlap, so a thread takes whole images, and their tiles in equal chunks.
    const int64_t together = plan.chunk / shape.image_tiles() < 1 ? 1 : plan.chunk / shape.image_tiles();
    int64_t next = 0;  // the first image that nobody has taken
    in_parallel(threads, [&](int part) {
        for (;;) {
            const int64_t image = __atomic_fetch_add(&next, together, __ATOMIC_RELAXED);
            if (image >= shape.images) return;
            const int64_t begin = image * shape.image_tiles();
            const int64_t tiles = least(together, shape.images - image) * shape.image_tiles();
            const int64_t chunks = rounded_up_share(tiles, plan.chunk);
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                const int64_t first = begin + part_begin(tiles, chunk, chunks);
                const int64_t count = begin + part_begin(tiles, chunk + 1, chunks) - first;
                multiply_chunk(
                    plan, count, memory, scratch + part * plan.thread_floats,
                    [&](const Plane& plane, float* planes) {
                        if (shape.pooled)
                            pooled_into_planes(shape, from, which, first, count, plane, planes);
                        else
                            into_planes<OutputGradient>(shape, from, 0, first, count, zeros, plane, planes);
                    },
                    [&](const Plane& plane, const float* planes, int64_t channel) {
                        const Map<float> to{output + channel, shape.height, shape.width, plane.channels,
                                            shape.inputs};
                        add_out_of_planes(shape, plane, planes, first, count, to);
                    });
            }
        }
    });
}

}  // namespace FORM
