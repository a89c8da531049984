// 3x3 convolutions with stride 1 and padding 1 by Winograd's F(4x4, 3x3): forward and the filters' gradient.
//
// Tiles go through in chunks whose transforms stay in the second-level cache. Sums do not depend on which
// thread takes which chunk, so the same number of threads gives the same bits.
#include "filters.h"
#include "products.h"
#include "threads.h"
#include "tiles.h"

namespace FORM {
namespace {

constexpr int64_t CACHE_FLOATS = 224 * 1024;            // that a chunk's planes may take: 0.9 MB
constexpr int64_t LAST_CACHE_FLOATS = 4 * 1024 * 1024;  // that filters' planes or a map may take: 17 MB

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t part_begin(int64_t whole, int64_t part, int64_t parts) { return whole * part / parts; }

// Tiles of a chunk: as many as the cache holds, between `low` and `high`, no more than a thread's share. Filters
// that no cache holds come from memory for each chunk, so that few large chunks are better.
int64_t chunk_tiles(const Shape& shape, int threads, int64_t floats_of_tile, int64_t low, int64_t high) {
    const bool filters_fit = FREQUENCIES * shape.inputs * shape.outputs <= LAST_CACHE_FLOATS;
    const int64_t fitting = filters_fit ? CACHE_FLOATS / floats_of_tile / low * low : high;
    const int64_t tiles = fitting < low ? low : least(fitting, high);
    return least(tiles, (shape.tiles() + threads - 1) / threads);
}

// ---- output = input * filters ----

constexpr int64_t SLAB = 4 * PANEL;  // vectors of output channels that are multiplied and transformed together

struct Forward {
    Plane input, filter, output;
    int64_t chunk, thread_floats;

    Forward(const Shape& shape, int threads) {
        const int64_t slab = least(vectors(shape.outputs), SLAB) * LANES;
        const int64_t tile = FREQUENCIES * (vectors(shape.inputs) * LANES + slab);
        chunk = chunk_tiles(shape, threads, tile, 2 * BLOCK_ROWS, 8 * BLOCK_ROWS);
        input = {chunk, shape.inputs, 1};
        filter = {shape.inputs, shape.outputs, PANEL};
        output = {chunk, slab, PANEL};
        thread_floats = input.all_size() + output.all_size();
    }
    int64_t zeros() const { return vectors(input.channels) * LANES; }
    int64_t floats(int threads) const { return filter.all_size() + zeros() + threads * thread_floats; }
};

int64_t convolve_memory(const Shape& shape, int threads) { return Forward(shape, threads).floats(threads); }

void convolve_chunk(const Shape& shape, const Forward& plan, const Map<const float>& input,
                    const float* filters, const float* zeros, const float* bias, float* output, int64_t first,
                    float* memory) {
    const int64_t count = least(plan.chunk, shape.tiles() - first);
    const Plane in{count, plan.input.channels, 1};
    float* products = memory + plan.input.all_size();
    into_planes<Input>(shape, input, 1, first, count, zeros, in, memory);
    for (int64_t begin = 0; begin < vectors(shape.outputs); begin += SLAB) {
        const int64_t end = least(begin + SLAB, vectors(shape.outputs)), channel = begin * LANES;
        const Plane out{count, least(end * LANES, shape.outputs) - channel, PANEL};
        for (int f = 0; f < FREQUENCIES; f++)
            product(memory + f * in.size(), in, filters + f * plan.filter.size(), plan.filter,
                    products + f * out.size(), out, begin, end);
        const Map<float> map{output + channel, shape.height, shape.width, out.channels, shape.outputs};
        const bool past_caches = shape.pixels() * shape.outputs > LAST_CACHE_FLOATS;
        out_of_planes(shape, out, products, first, count, bias ? bias + channel : nullptr, map, past_caches);
    }
}

void convolve(const Shape& shape, const float* input, const Filters<const float>& filters, const float* bias,
              float* output, float* memory, int threads) {
    const Forward plan(shape, threads);
    float *zeros = memory + plan.filter.all_size(), *scratch = zeros + plan.zeros();
    for (int64_t i = 0; i < plan.zeros(); i++) zeros[i] = 0;
    in_parallel(threads, [&](int part) {
        filters_into_planes(filters, part_begin(shape.inputs, part, threads),
                            part_begin(shape.inputs, part + 1, threads), plan.filter, memory);
    });
    const Map<const float> map{input, shape.height, shape.width, shape.inputs, shape.inputs};
    int64_t next = 0;  // the first tile that nobody has taken
    in_parallel(threads, [&](int part) {
        for (;;) {
            const int64_t first = __atomic_fetch_add(&next, plan.chunk, __ATOMIC_RELAXED);
            if (first >= shape.tiles()) return;
            convolve_chunk(shape, plan, map, memory, zeros, bias, output, first,
                           scratch + part * plan.thread_floats);
        }
    });
}

// ---- the gradients of filters and bias ----

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

int64_t weight_gradient_memory(const Shape& shape, int threads) { return Backward(shape, threads).floats(); }

// The row of A for the point 1 is all ones, so this frequency is the sum of a tile's 16 gradients.
constexpr int SUM_FREQUENCY = 7;

void add_rows(const Plane& plane, const float* values, float* sums) {
    for (int64_t vector = 0; vector < vectors(plane.channels); vector++) {
        Vector sum = {};
        for (int64_t row = 0; row < plane.rows; row++) sum += load(values + plane.offset(row, vector));
        store(sums + vector * LANES, load(sums + vector * LANES) + sum);
    }
}

// Adds up the products of some tiles and of `channels` output channels from `channel` on.
void sum_tiles(const Shape& shape, const Backward& plan, const float* input, const float* gradient,
               const float* zeros, int64_t channel, int64_t channels, int64_t begin, int64_t end, float* sums) {
    float *bias = sums + plan.filter.all_size(), *inputs = bias + plan.slab;
    float* gradients = inputs + plan.input.all_size();
    const Map<const float> x{input, shape.height, shape.width, shape.inputs, shape.inputs};
    const Map<const float> dy{gradient + channel, shape.height, shape.width, channels, shape.outputs};
    const Plane filter{plan.filter.rows, channels, PANEL};
    for (int64_t i = 0; i < plan.filter.all_size() + plan.slab; i++) sums[i] = 0;
    for (int64_t first = begin; first < end; first += plan.chunk) {
        const int64_t count = least(plan.chunk, end - first);
        const Plane in{count, shape.inputs, 1}, out{count, channels, PANEL};
        into_planes<Input>(shape, x, 1, first, count, zeros, in, inputs);
        into_planes<OutputGradient>(shape, dy, 0, first, count, zeros, out, gradients);
        for (int f = 0; f < FREQUENCIES; f++)
            turned_product(count, inputs + f * in.size(), in, gradients + f * out.size(), out,
                           sums + f * filter.size(), filter);
        add_rows(out, gradients + SUM_FREQUENCY * out.size(), bias);
    }
}

void weight_gradient(const Shape& shape, const float* input, const float* gradient,
                     const Filters<float>& filters, float* bias, float* memory, int threads) {
    const Backward plan(shape, threads);
    float *zeros = memory, *sums = zeros + plan.zeros();
    for (int64_t i = 0; i < plan.zeros(); i++) zeros[i] = 0;
    const auto channels_of = [&](int part) { return least(plan.slab, shape.outputs - part * plan.slab); };
    in_parallel(plan.channel_parts * plan.tile_parts, [&](int part) {
        const int channel_part = part / plan.tile_parts, tile_part = part % plan.tile_parts;
        if (channels_of(channel_part) > 0)
            sum_tiles(shape, plan, input, gradient, zeros, channel_part * plan.slab, channels_of(channel_part),
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

}  // namespace

#define NAME_OF(form) #form
#define NAME(form) NAME_OF(form)
extern const Form form;
const Form form = {NAME(FORM), convolve_memory, weight_gradient_memory, convolve, weight_gradient};

}  // namespace FORM
