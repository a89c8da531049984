// Vectors of float32: the only file that knows an instruction set.
//
// Each form of the kernels is this folder's convolution.cpp, compiled with the options of one instruction set.
// Arithmetic is the compiler's own on vector types; NaN and infinity go the way IEEE 754 says. `stream` writes whole
// aligned lines to memory without reading them into the caches first.
#pragma once

#include "shapes.h"

#if defined(__AVX512F__)

#include <immintrin.h>
#define FORM avx512
namespace FORM {
using Vector = __m512;
constexpr int LANES = 16;
// Of 32 registers, a block of a product takes 14 x 2 sums, 2 of the right factor and 1 of the left.
constexpr int BLOCK_ROWS = 14;

INLINE Vector all(float value) { return _mm512_set1_ps(value); }
INLINE Vector load(const float* from) { return _mm512_loadu_ps(from); }
INLINE void store(float* to, Vector value) { _mm512_storeu_ps(to, value); }
INLINE void stream(float* to, Vector value) { _mm512_stream_ps(to, value); }
INLINE void end_of_stream() { _mm_sfence(); }
INLINE __mmask16 first(int lanes) { return static_cast<__mmask16>((1u << lanes) - 1); }
INLINE Vector load(const float* from, int lanes) { return _mm512_maskz_loadu_ps(first(lanes), from); }
INLINE void store(float* to, Vector value, int lanes) { _mm512_mask_storeu_ps(to, first(lanes), value); }
}  // namespace FORM

#elif defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>
#define FORM avx2
namespace FORM {
using Vector = __m256;
constexpr int LANES = 8;
constexpr int BLOCK_ROWS = 6;  // 6 x 2 sums of 16 registers

INLINE Vector all(float value) { return _mm256_set1_ps(value); }
INLINE Vector load(const float* from) { return _mm256_loadu_ps(from); }
INLINE void store(float* to, Vector value) { _mm256_storeu_ps(to, value); }
INLINE void stream(float* to, Vector value) { _mm256_stream_ps(to, value); }
INLINE void end_of_stream() { _mm_sfence(); }
INLINE __m256i first(int lanes) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE Vector load(const float* from, int lanes) { return _mm256_maskload_ps(from, first(lanes)); }
INLINE void store(float* to, Vector value, int lanes) { _mm256_maskstore_ps(to, first(lanes), value); }
}  // namespace FORM

#else  // four lanes in the compiler's own words: NEON on AArch64

#include <cstring>
#define FORM generic
namespace FORM {
typedef float Vector __attribute__((vector_size(16)));
constexpr int LANES = 4;
#if defined(__aarch64__)
constexpr int BLOCK_ROWS = 12;  // 12 x 2 sums of 32 registers
#else
constexpr int BLOCK_ROWS = 4;
#endif

INLINE Vector all(float value) { return Vector{value, value, value, value}; }
INLINE Vector load(const float* from, int lanes = LANES) {
    Vector value = {};
    std::memcpy(&value, from, lanes * sizeof(float));
    return value;
}
INLINE void store(float* to, Vector value, int lanes = LANES) {
    std::memcpy(to, &value, lanes * sizeof(float));
}
INLINE void stream(float* to, Vector value) { store(to, value); }
INLINE void end_of_stream() {}
}  // namespace FORM

#endif
