// The C interface: which forms this processor can run, and the three operations of each.
//
// `sizes` are images, height, width, inputs, outputs; `steps` those of the filters from output to output, input to
// input, row to row and column to column, in floats. Maps are NHWC and dense. Nothing is checked here.
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
Shape shape_of(const int64_t* sizes) { return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]}; }
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

EXPORT int64_t pictorch_memory(int form, const int64_t* sizes, int threads) {
    Shape shape = shape_of(sizes);
    const int64_t backward = form_of(form).weight_gradient_memory(shape, threads);
    const int64_t forward = form_of(form).convolve_memory(shape, threads);
    return forward > backward ? forward : backward;
}

EXPORT void pictorch_forward(int form, const int64_t* sizes, const float* input, const float* filters,
                             const int64_t* steps, const float* bias, float* output, float* memory, int threads) {
    form_of(form).convolve(shape_of(sizes), input, filters_of(filters, steps), bias, output, memory, threads);
}

// The gradient of the input: `sizes` has the gradient's channels as inputs.
EXPORT void pictorch_input_gradient(int form, const int64_t* sizes, const float* gradient, const float* filters,
                                    const int64_t* steps, float* output, float* memory, int threads) {
    // The filters turned by 180 degrees, from outputs to inputs.
    const Filters<const float> turned{filters + 2 * steps[2] + 2 * steps[3], steps[1], steps[0], -steps[2],
                                      -steps[3]};
    form_of(form).convolve(shape_of(sizes), gradient, turned, nullptr, output, memory, threads);
}

EXPORT void pictorch_weight_gradient(int form, const int64_t* sizes, const float* input, const float* gradient,
                                     float* filters, const int64_t* steps, float* bias, float* memory,
                                     int threads) {
    form_of(form).weight_gradient(shape_of(sizes), input, gradient, filters_of(filters, steps), bias, memory,
                                  threads);
}
