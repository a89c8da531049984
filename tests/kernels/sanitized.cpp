// Runs every form that this processor can run on small shapes and compares with direct convolution in double.
// Every buffer is as large as it must be and no larger, so that a sanitizer sees each step beyond.
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "shapes.h"

extern "C" {
const char* pictorch_form_name(int);
int pictorch_form_runs(int);
int64_t pictorch_memory(int, const int64_t*, int);
void pictorch_forward(int, const int64_t*, const float*, const float*, const int64_t*, const float*, float*, uint8_t*,
                      float*, int);
void pictorch_input_gradient(int, const int64_t*, const float*, const uint8_t*, const float*, const int64_t*, float*,
                             float*, int);
void pictorch_weight_gradient(int, const int64_t*, const float*, const float*, const uint8_t*, float*, const int64_t*,
                              float*, float*, int);
}

using Floats = std::vector<float>;

static Floats drawn(int64_t count) {
    static std::mt19937 engine(0);
    std::normal_distribution<float> normal;
    Floats values(count);
    for (float& value : values) value = normal(engine);
    return values;
}

// Calls body(output index, input index, filter index) for every product of the convolution.
template <class Body> static void each_product(const Shape& s, Body body) {
    for (int64_t n = 0; n < s.images; n++)
        for (int64_t y = 0; y < s.height; y++)
            for (int64_t x = 0; x < s.width; x++)
                for (int64_t i = 0; i < 3; i++)
                    for (int64_t j = 0; j < 3; j++) {
                        const int64_t v = y + i - 1, u = x + j - 1;
                        if (v < 0 || v >= s.height || u < 0 || u >= s.width) continue;
                        const int64_t to = (n * s.height + y) * s.width + x, from = (n * s.height + v) * s.width + u;
                        for (int64_t k = 0; k < s.outputs; k++)
                            for (int64_t c = 0; c < s.inputs; c++)
                                body(to * s.outputs + k, from * s.inputs + c, ((k * s.inputs + c) * 3 + i) * 3 + j);
                    }
}

static bool agree(const Floats& mine, const std::vector<double>& right, const char* what) {
    double largest = 1e-30, worst = 0;
    for (double value : right) largest = std::fmax(largest, std::fabs(value));
    for (size_t i = 0; i < right.size(); i++) worst = std::fmax(worst, std::fabs(mine[i] - right[i]));
    if (worst <= 1e-4 * largest) return true;
    std::printf("%s differs by %g of %g\n", what, worst, largest);
    return false;
}

// Calls body(index in the output, index in the pooled map, number in its window) for what is pooled.
template <class Body> static void each_pooled(const Shape& s, Body body) {
    for (int64_t n = 0; n < s.images; n++)
        for (int64_t y = 0; y < s.height / 2 * 2; y++)
            for (int64_t x = 0; x < s.width / 2 * 2; x++)
                for (int64_t k = 0; k < s.outputs; k++)
                    body(((n * s.height + y) * s.width + x) * s.outputs + k,
                         ((n * (s.height / 2) + y / 2) * (s.width / 2) + x / 2) * s.outputs + k, y % 2 * 2 + x % 2);
}

static bool check(int form, const Shape& s, int threads) {
    const int64_t pixels = s.images * s.height * s.width, taps = s.outputs * s.inputs * 9;
    const Floats x = drawn(pixels * s.inputs), w = drawn(taps), bias = drawn(s.outputs);
    const int64_t sizes[] = {s.images, s.height, s.width, s.inputs, s.outputs, s.pooled};
    const int64_t steps[] = {s.inputs * 9, 9, 3, 1};
    Floats memory(pictorch_memory(form, sizes, threads)), own_y(s.output_pixels() * s.outputs);
    std::vector<uint8_t> which(s.pooled ? own_y.size() : 0);
    const auto chosen = s.pooled ? which.data() : nullptr;
    pictorch_forward(form, sizes, x.data(), w.data(), steps, bias.data(), own_y.data(), chosen, memory.data(), threads);

    const Floats own_dy = drawn(own_y.size());
    std::vector<double> y(pixels * s.outputs), dy(y.size()), dx(x.size()), dw(w.size()), db(bias.size());
    for (size_t i = 0; i < y.size(); i++) y[i] = bias[i % s.outputs];
    each_product(s, [&](int64_t to, int64_t from, int64_t tap) { y[to] += double(x[from]) * w[tap]; });
    if (s.pooled) {
        std::vector<double> pooled(own_y.size(), -1e30);
        each_pooled(s, [&](int64_t from, int64_t to, int number) {
            pooled[to] = std::fmax(pooled[to], y[from]);
            if (which[to] == number) dy[from] = own_dy[to];
        });
        y = pooled;
    } else {
        dy.assign(own_dy.begin(), own_dy.end());
    }
    for (size_t i = 0; i < dy.size(); i++) db[i % s.outputs] += dy[i];
    each_product(s, [&](int64_t to, int64_t from, int64_t tap) {
        dx[from] += dy[to] * w[tap];
        dw[tap] += dy[to] * x[from];
    });
    Floats own_dx(x.size()), own_dw(w.size()), own_db(bias.size());
    pictorch_input_gradient(form, sizes, own_dy.data(), chosen, w.data(), steps, own_dx.data(), memory.data(), threads);
    pictorch_weight_gradient(form, sizes, x.data(), own_dy.data(), chosen, own_dw.data(), steps, own_db.data(),
                             memory.data(), threads);
    return agree(own_y, y, "output") & agree(own_dx, dx, "gradient of the input") &
           agree(own_dw, dw, "gradient of the filters") & agree(own_db, db, "gradient of the bias");
}

int main() {
    const Shape shapes[] = {{1, 1, 1, 1, 1, false},   {2, 5, 3, 3, 5, false},    {1, 4, 4, 16, 16, false},
                            {3, 9, 6, 17, 33, false}, {1, 2, 13, 40, 8, false},  {1, 3, 3, 70, 300, false},
                            {2, 2, 3, 3, 5, true},    {5, 9, 7, 17, 33, true},   {1, 12, 5, 24, 16, true}};
    bool good = true;
    for (int form = 0; pictorch_form_name(form); form++)
        for (const Shape& shape : shapes)
            for (int threads = 1; threads <= 4 && pictorch_form_runs(form); threads += 3)
                if (!check(form, shape, threads)) {
                    good = false;
                    std::printf("%s, shape %d\n", pictorch_form_name(form), int(&shape - shapes));
                }
    if (good) std::puts("all agree");
    return good ? 0 : 1;
}
