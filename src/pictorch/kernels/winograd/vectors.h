// Vectors of float32: the only file that knows an instruction set.
//
// Each form of the kernels is this folder's convolution.cpp, compiled with the options of one instruction set.
// Arithmetic is the compiler's own on vector types; NaN and infinity go the way IEEE 754 says. `stream` writes whole
// aligned lines to memory without reading them into the caches first. A mask says something of each lane; `bytes` are
// small whole numbers, a float each in a vector.
#pragma once

#include <cstring>

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

using Mask = __mmask16;
INLINE Mask equal(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
INLINE Mask greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
INLINE Mask is_nan(Vector a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
INLINE Vector where(Mask mask, Vector a, Vector b) { return _mm512_mask_mov_ps(b, mask, a); }
INLINE Vector where(Mask mask, Vector a) { return _mm512_maskz_mov_ps(mask, a); }
INLINE Vector load_bytes(const uint8_t* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
INLINE void store_bytes(uint8_t* to, Vector value) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(value)));
}
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

using Mask = __m256;
INLINE Mask equal(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
INLINE Mask greater(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
INLINE Mask is_nan(Vector a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
INLINE Vector where(Mask mask, Vector a, Vector b) { return _mm256_blendv_ps(b, a, mask); }
INLINE Vector where(Mask mask, Vector a) { return _mm256_and_ps(mask, a); }
INLINE Vector load_bytes(const uint8_t* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
INLINE void store_bytes(uint8_t* to, Vector value) {
    const __m256i whole = _mm256_cvttps_epi32(value);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
}
}  // namespace FORM

#else  // four lanes in the compiler's own words: NEON on AArch64

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

typedef int Mask __attribute__((vector_size(16)));
INLINE Mask equal(Vector a, Vector b) { return a == b; }
INLINE Mask greater(Vector a, Vector b) { return a > b; }
INLINE Mask is_nan(Vector a) { return a != a; }
INLINE Vector where(Mask mask, Vector a, Vector b) { return (Vector)((mask & (Mask)a) | (~mask & (Mask)b)); }
INLINE Vector where(Mask mask, Vector a) { return (Vector)(mask & (Mask)a); }
INLINE Vector load_bytes(const uint8_t* from) {
    return Vector{float(from[0]), float(from[1]), float(from[2]), float(from[3])};
}
INLINE void store_bytes(uint8_t* to, Vector value) {
    for (int lane = 0; lane < LANES; lane++) to[lane] = static_cast<uint8_t>(value[lane]);
}
}  // namespace FORM

#endif

namespace FORM {
INLINE Vector load_bytes(const uint8_t* from, int lanes) {
    uint8_t bytes[LANES] = {};
    std::memcpy(bytes, from, lanes);
    return load_bytes(bytes);
}
INLINE void store_bytes(uint8_t* to, Vector value, int lanes) {
    uint8_t bytes[LANES];
    store_bytes(bytes, value);
    std::memcpy(to, bytes, lanes);
}
}  // namespace FORM
