#pragma once
// Batcher's merge exchange, all lanes in step. Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

// Sorts keys (n), descending, and the columns of z (n_rows, leading dimension ld) with them.
template <class R>
INSDL_INLINE void sort_descending(int n, R* keys, int n_rows, int ld, R* z) {
    int largest = 1;
    while (2 * largest < n) largest *= 2;
    for (int p = largest; p > 0; p /= 2) {
        int q = largest, r = 0, d = p;
        for (;;) {
            for (int i = 0; i + d < n; ++i) {
                if ((i & p) != r) continue;
                const auto swap = keys[i] < keys[i + d];
                const R a = keys[i], b = keys[i + d];
                keys[i] = select(swap, b, a);
                keys[i + d] = select(swap, a, b);
                for (int k = 0; k < n_rows; ++k) {
                    const R x = z[k * ld + i], y = z[k * ld + i + d];
                    z[k * ld + i] = select(swap, y, x);
                    z[k * ld + i + d] = select(swap, x, y);
                }
            }
            if (q == p) break;
            d = q - p;
            q /= 2;
            r = p;
        }
    }
}

}  // namespace insdl::INSDL_ISA
