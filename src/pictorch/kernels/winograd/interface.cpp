// The C interface: which forms this processor can run, and the three operations of each.
//
// `sizes` are images, height, width, inputs, outputs and whether the output is pooled; `steps` those of the filters from
// output to output, input to input, row to row and column to column, in floats. Maps are NHWC and dense; `which` is null
// unless the output is pooled. Nothing is checked here.
#include <initializer_list>

#include "shapes.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

#if defined(__x86_64__)
namespace avx512 { extern const Form form; }
namespace avx2 { extern const Form form; }
#endif
namespace generic { extern const Form form; }

namespace {

struct Candidate {
    const Form* form;
    bool runs;
};

// The best first.
Candidate candidate(int number) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (number == 0) return {&avx512::form, __builtin_cpu_supports("avx512f") != 0};
    if (number == 1)
        return {&avx2::form, __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0};
    number -= 2;
#endif
    return {number == 0 ? &generic::form : nullptr, number == 0};
}

const Form& form_of(int number) { return *candidate(number).form; }
Shape shape_of(const int64_t* sizes) { return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5] != 0}; }
template <class Float> Filters<Float> filters_of(Float* first, const int64_t* steps) {
    return {first, steps[0], steps[1], steps[2], steps[3]};
}

}  // namespace

// The name of a form, the best first; null behind the last.
EXPORT const char* pictorch_form_name(int number) {
    const Form* form = candidate(number).form;
    return form ? form->name : nullptr;
}

EXPORT int pictorch_form_runs(int number) { return candidate(number).runs; }

// Floats of memory to work in, enough for all operations of these sizes.
EXPORT int64_t pictorch_memory(int form, const int64_t* sizes, int threads) {
    const Shape shape = shape_of(sizes);
    int64_t most = 0;
    for (auto memory : {form_of(form).convolve_memory, form_of(form).input_gradient_memory,
                        form_of(form).weight_gradient_memory})
        if (memory(shape, threads) > most) most = memory(shape, threads);
    return most;
}

EXPORT void pictorch_forward(int form, const int64_t* sizes, const float* input, const float* filters,
                             const int64_t* steps, const float* bias, float* output, uint8_t* which, float* memory,
                             int threads) {
    form_of(form).convolve(shape_of(sizes), input, filters_of(filters, steps), bias, output, which, memory,
                           threads);
}

EXPORT void pictorch_input_gradient(int form, const int64_t* sizes, const float* gradient, const uint8_t* which,
                                    const float* filters, const int64_t* steps, float* output, float* memory,
                                    int threads) {
    form_of(form).input_gradient(shape_of(sizes), gradient, which, filters_of(filters, steps), output, memory,
                                 threads);
}

EXPORT void pictorch_weight_gradient(int form, const int64_t* sizes, const float* input, const float* gradient,
                                     const uint8_t* which, float* filters, const int64_t* steps, float* bias,
                                     float* memory, int threads) {
    form_of(form).weight_gradient(shape_of(sizes), input, gradient, which, filters_of(filters, steps), bias,
                                  memory, threads);
}
