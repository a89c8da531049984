// The gradients of filters and bias.
#pragma once

#include "chunks.h"
#include "filters.h"
#include "pooling.h"
#include "products.h"
#include "threads.h"
#include "tiles.h"

namespace FORM {

constexpr int64_t SHARE_FLOATS = 640 * 1024;  // of the filters' planes, that a thread may add to: 2.6 MB

// Threads share the output channels until the sums of each are small, and then the tiles.
struct Backward {
    int channel_parts, tile_parts;
    int64_t slab;  // output channels of a part
    Plane input, gradient, filter;
    int64_t chunk, thread_floats;

    Backward(const Shape& shape, int threads) : channel_parts(1) {
        const int64_t panels = (vectors(shape.outputs) + PANEL - 1) / PANEL;
        const auto width = [&] { return (panels + channel_parts - 1) / channel_parts * PANEL * LANES; };
        const auto floats = [&] { return FREQUENCIES * shape.inputs * width(); };
        while (channel_parts < threads && channel_parts < panels && floats() > SHARE_FLOATS)
            do channel_parts++;
            while (threads % channel_parts != 0);
        slab = width();
        tile_parts = threads / channel_parts;
        const int64_t tile = FREQUENCIES * (vectors(shape.inputs) * LANES + slab);
        chunk = chunk_tiles(shape, tile_parts, tile, 32, 128);
        input = {chunk, shape.inputs, 1};
        gradient = {chunk, slab, PANEL};
        // Blocks of a product are TURNED_ROWS high.
        filter = {rounded_up(shape.inputs, TURNED_ROWS), slab, PANEL};
        thread_floats = filter.all_size() + slab + input.all_size() + gradient.all_size();
    }
    int64_t zeros() const { return rounded_up(input.channels < slab ? slab : input.channels, 16); }
    int64_t floats() const { return zeros() + channel_parts * tile_parts * thread_floats; }
};

inline int64_t weight_gradient_memory(const Shape& shape, int threads) { return Backward(shape, threads).floats(); }

// The row of A for the point 1 is all ones, so this frequency is the sum of a tile's 16 gradients.
constexpr int SUM_FREQUENCY = 7;

inline void add_rows(const Plane& plane, const float* values, float* sums) {
    for (int64_t vector = 0; vector < vectors(plane.channels); vector++) {
        Vector sum = {};
        for (int64_t row = 0; row < plane.rows; row++) sum += load(values + plane.offset(row, vector));
        store(sums + vector * LANES, load(sums + vector * LANES) + sum);
    }
}

// Adds up the products of some tiles and of `channels` output channels from `channel` on.
inline void sum_tiles(const Shape& shape, const Backward& plan, const float* input, const float* gradient,
                      const uint8_t* which, const float* zeros, int64_t channel, int64_t channels, int64_t begin,
                      int64_t end, float* sums) {
    float *bias = sums + plan.filter.all_size(), *inputs = bias + plan.slab;
    float* gradients = inputs + plan.input.all_size();
    const Map<const float> x{input, shape.height, shape.width, shape.inputs, shape.inputs};
    const Map<const float> dy{gradient + channel, shape.output_height(), shape.output_width(), channels,
                              shape.outputs};
    const Plane filter{plan.filter.rows, channels, PANEL};
    for (int64_t i = 0; i < plan.filter.all_size() + plan.slab; i++) sums[i] = 0;
    for (int64_t first = begin; first < end; first += plan.chunk) {
        const int64_t count = least(plan.chunk, end - first);
        const Plane in{count, shape.inputs, 1}, out{count, channels, PANEL};
        into_planes<Input>(shape, x, 1, first, count, zeros, in, inputs);
        if (shape.pooled)
            pooled_into_planes(shape, dy, which + channel, first, count, out, gradients);
        else
            into_planes<OutputGradient>(shape, dy, 0, first, count, zeros, out, gradients);
        for (int f = 0; f < FREQUENCIES; f++)
            turned_product(count, inputs + f * in.size(), in, gradients + f * out.size(), out,
                           sums + f * filter.size(), filter);
        add_rows(out, gradients + SUM_FREQUENCY * out.size(), bias);
    }
}

inline void weight_gradient(const Shape& shape, const float* input, const float* gradient, const uint8_t* which,
                            const Filters<float>& filters, float* bias, float* memory, int threads) {
    const Backward plan(shape, threads);
    float *zeros = memory, *sums = zeros + plan.zeros();
    for (int64_t i = 0; i < plan.zeros(); i++) zeros[i] = 0;
    const auto channels_of = [&](int part) { return least(plan.slab, shape.outputs - part * plan.slab); };
    in_parallel(plan.channel_parts * plan.tile_parts, [&](int part) {
        const int channel_part = part / plan.tile_parts, tile_part = part % plan.tile_parts;
        if (channels_of(channel_part) > 0)
            sum_tiles(shape, plan, input, gradient, which, zeros, channel_part * plan.slab, channels_of(channel_part),
                      part_begin(shape.tiles(), tile_part, plan.tile_parts),
                      part_begin(shape.tiles(), tile_part + 1, plan.tile_parts), sums + part * plan.thread_floats);
    });
    in_parallel(threads, [&](int thread) {
        for (int part = 0; part < plan.channel_parts && channels_of(part) > 0; part++) {
            const float* from = sums + part * plan.tile_parts * plan.thread_floats;
            const Plane filter{plan.filter.rows, channels_of(part), PANEL};
            planes_into_filters(filter, from, plan.tile_parts, plan.thread_floats,
                                part_begin(shape.inputs, thread, threads),
                                part_begin(shape.inputs, thread + 1, threads), part * plan.slab, filters);
        }
    });
    for (int64_t channel = 0; bias && channel < shape.outputs; channel++) {
        const int64_t part = channel / plan.slab * plan.tile_parts;
        const float* from = sums + part * plan.thread_floats + plan.filter.all_size() + channel % plan.slab;
        bias[channel] = from[0];
        for (int i = 1; i < plan.tile_parts; i++) bias[channel] += from[i * plan.thread_floats];
    }
}

}  // namespace FORM
