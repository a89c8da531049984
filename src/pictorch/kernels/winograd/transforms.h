// The transforms of F(4x4, 3x3) (Lavin & Gray, "Fast algorithms for convolutional neural networks", 2015;
// Winograd, "Arithmetic complexity of computations", 1980), for the points 0, 1, -1, 2, -2 and infinity.
//
// With a 6x6 tile d of the input, a filter g and the 4x4 tile y of the output, o meaning elementwise:
//     y = A' [(G g G') o (B' d B)] A
// It is linear in d and in g, so its gradients are the same transforms the other way round:
//     dg = G' [(B' d B) o (A dy A')] G
//     dd = B [(G g G') o (A dy A')] B'    of each tile, added up where tiles overlap
// dd is also a convolution again, of dy with the filters turned by 180 degrees. A row of a result that shares sums
// with another is made together with it (PAIRS): all of a tile would not fit in registers.
#pragma once

#include "vectors.h"

namespace FORM {

struct Input {  // B'
    static constexpr int FROM = 6, TO = 6;
    static constexpr int PAIRS[3][2] = {{1, 2}, {3, 4}, {0, 5}};
    static INLINE void apply(const Vector* d, Vector* out) {
        const Vector even = d[4] - 4.f * d[2], odd = d[3] - 4.f * d[1];
        const Vector half_even = d[4] - d[2], half_odd = 2.f * (d[3] - d[1]);
        out[0] = 4.f * d[0] - 5.f * d[2] + d[4];
        out[1] = even + odd;
        out[2] = even - odd;
        out[3] = half_even + half_odd;
        out[4] = half_even - half_odd;
        out[5] = 4.f * d[1] - 5.f * d[3] + d[5];
    }
};

struct Filter {  // G
    static constexpr int FROM = 3, TO = 6;
    static constexpr int PAIRS[3][2] = {{1, 2}, {3, 4}, {0, 5}};
    static INLINE void apply(const Vector* g, Vector* out) {
        const Vector sum = g[0] + g[2], wide = g[0] + 4.f * g[2];
        out[0] = (1 / 4.f) * g[0];
        out[1] = (-1 / 6.f) * (sum + g[1]);
        out[2] = (-1 / 6.f) * (sum - g[1]);
        out[3] = (1 / 24.f) * (wide + 2.f * g[1]);
        out[4] = (1 / 24.f) * (wide - 2.f * g[1]);
        out[5] = g[2];
    }
};

struct Output {  // A'
    static constexpr int FROM = 6, TO = 4;
    static constexpr int PAIRS[2][2] = {{0, 2}, {1, 3}};
    static INLINE void apply(const Vector* m, Vector* out) {
        const Vector sum = m[1] + m[2], difference = m[1] - m[2];
        const Vector wide_sum = m[3] + m[4], wide_difference = m[3] - m[4];
        out[0] = m[0] + sum + wide_sum;
        out[1] = difference + 2.f * wide_difference;
        out[2] = sum + 4.f * wide_sum;
        out[3] = difference + 8.f * wide_difference + m[5];
    }
};

struct OutputGradient {  // A
    static constexpr int FROM = 4, TO = 6;
    static constexpr int PAIRS[3][2] = {{1, 2}, {3, 4}, {0, 5}};
    static INLINE void apply(const Vector* y, Vector* out) {
        const Vector even = y[0] + y[2], odd = y[1] + y[3];
        const Vector wide_even = y[0] + 4.f * y[2], wide_odd = 2.f * y[1] + 8.f * y[3];
        out[0] = y[0];
        out[1] = even + odd;
        out[2] = even - odd;
        out[3] = wide_even + wide_odd;
        out[4] = wide_even - wide_odd;
        out[5] = y[3];
    }
};

struct FilterGradient {  // G'
    static constexpr int FROM = 6, TO = 3;
    static constexpr int PAIRS[2][2] = {{0, 2}, {1, 1}};
    static INLINE void apply(const Vector* m, Vector* out) {
        const Vector sum = m[1] + m[2], difference = m[1] - m[2];
        const Vector wide_sum = m[3] + m[4], wide_difference = m[3] - m[4];
        out[0] = (1 / 4.f) * m[0] - (1 / 6.f) * sum + (1 / 24.f) * wide_sum;
        out[1] = (1 / 12.f) * wide_difference - (1 / 6.f) * difference;
        out[2] = (1 / 6.f) * (wide_sum - sum) + m[5];
    }
};

struct InputGradient {  // B
    static constexpr int FROM = 6, TO = 6;
    static constexpr int PAIRS[3][2] = {{1, 3}, {2, 4}, {0, 5}};
    static INLINE void apply(const Vector* m, Vector* out) {
        const Vector sum = m[1] + m[2], difference = m[2] - m[1];
        const Vector wide_sum = m[3] + m[4], wide_difference = 2.f * (m[4] - m[3]);
        out[0] = 4.f * m[0];
        out[1] = 4.f * (difference + m[5]) + wide_difference;
        out[2] = -5.f * m[0] - 4.f * sum - wide_sum;
        out[3] = -5.f * m[5] - difference - wide_difference;
        out[4] = m[0] + sum + wide_sum;
        out[5] = m[5];
    }
};

// T x T' for the 1-D transform T: along the columns, then along the rows.
// `from(i, j)` gives the elements of x, `to(i, j, value)` takes those of the result.
template <class Transform, class From, class To> INLINE void transform(From from, To to) {
#pragma GCC unroll 3
    for (const auto& pair : Transform::PAIRS) {
        Vector half[2][Transform::FROM];
#pragma GCC unroll 6
        for (int j = 0; j < Transform::FROM; j++) {
            Vector column[Transform::FROM], out[Transform::TO];
#pragma GCC unroll 6
            for (int i = 0; i < Transform::FROM; i++) column[i] = from(i, j);
            Transform::apply(column, out);
            half[0][j] = out[pair[0]], half[1][j] = out[pair[1]];
        }
#pragma GCC unroll 2
        for (int i = 0; i < 2; i++) {
            Vector out[Transform::TO];
            Transform::apply(half[i], out);
#pragma GCC unroll 6
            for (int j = 0; j < Transform::TO; j++) to(pair[i], j, out[j]);
        }
    }
}

}  // namespace FORM
