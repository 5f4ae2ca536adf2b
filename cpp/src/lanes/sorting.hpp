#pragma once
// Batcher's merge exchange, all lanes in step. Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

// Calls exchange(i, j) for the pairs i < j of a sorting network of n.
template <class Exchange>
INSDL_INLINE void merge_exchange(int n, Exchange exchange) {
    int largest = 1;
    while (2 * largest < n) largest *= 2;
    for (int p = largest; p > 0; p /= 2) {
        int q = largest, r = 0, d = p;
        for (;;) {
            for (int i = 0; i + d < n; ++i) {
                if ((i & p) != r) continue;
                exchange(i, i + d);
            }
            if (q == p) break;
            d = q - p;
            q /= 2;
            r = p;
        }
    }
}

template <class R>
INSDL_INLINE void swap_where(const typename R::Mask& swap, R& a, R& b) {
    const R x = a, y = b;
    a = select(swap, y, x);
    b = select(swap, x, y);
}

// Sorts keys (n), descending, and the columns of z (n of n_rows) with them.
template <class R>
INSDL_INLINE void sort_descending(int n, R* keys, int n_rows, R* z) {
    merge_exchange(n, [&](int i, int j) {
        const auto swap = keys[i] < keys[j];
        swap_where(swap, keys[i], keys[j]);
        for (int k = 0; k < n_rows; ++k) swap_where(swap, z[i * n_rows + k], z[j * n_rows + k]);
    });
}

// The same for the columns of two matrices (n, n) of elements with kParts lanes each.
template <int kParts, class R>
INSDL_INLINE void sort_columns(int n, R* keys, R* x, R* p) {
    merge_exchange(n, [&](int i, int j) {
        const auto swap = keys[i] < keys[j];
        if (!any(swap)) return;
        swap_where(swap, keys[i], keys[j]);
        for (int k = 0; k < n; ++k)
            for (int part = 0; part < kParts; ++part) {
                swap_where(swap, x[(k * n + i) * kParts + part], x[(k * n + j) * kParts + part]);
                swap_where(swap, p[(k * n + i) * kParts + part], p[(k * n + j) * kParts + part]);
            }
    });
}

}  // namespace insdl::INSDL_ISA
