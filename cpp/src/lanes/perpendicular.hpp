#pragma once
// From the rows of one mode to what a neutron sees: sum_ab (delta_ab - Q_a Q_b / Q^2) v_a conj(v_b), v being the sum of
// re + i im along each row's direction.

#include "../kernel.hpp"
#include "vector.hpp"

namespace insdl::INSDL_ISA {

// Weights of the trace and of the part along Q: 1 and 1/Q^2, but 2/3 and 0 at Q = 0.
template <class R>
struct Projection {
    R trace, along;

    INSDL_INLINE explicit Projection(const R& squared) {
        const auto away = squared > R(1e-16);
        trace = select(away, R(1.0), R(2.0 / 3.0));
        along = select(away, R(1.0), R(0.0)) / select(away, squared, R(1.0));
    }
};

// along: Q.direction of every row. side 1 is -Q, where the rows of odd parity change sign; `along` has that sign
// already. kRows: the number of rows, or 0 where it is known only at run time.
template <int kRows = 0, class R>
INSDL_INLINE R perpendicular(const ShiftRows& rows, int side, const R* re, const R* im, const R* along,
                             const Projection<R>& projection) {
    const int n_rows = kRows ? kRows : rows.n_rows;
    R total(0.0), along_re(0.0), along_im(0.0);
    for (int r = 0; r < n_rows; ++r) {
        total += re[r] * re[r] + im[r] * im[r];
        along_re += along[r] * re[r];
        along_im += along[r] * im[r];
        const double* d = rows.directions + 3 * r;
        for (int o = 0; o < r; ++o) {  // rows need not be orthogonal
            const double* f = rows.directions + 3 * o;
            const double overlap = d[0] * f[0] + d[1] * f[1] + d[2] * f[2];
            if (__builtin_fabs(overlap) < 1e-14) continue;
            const R twice(2.0 * overlap * (side ? rows.parity[r] * rows.parity[o] : 1.0));
            total += twice * (re[r] * re[o] + im[r] * im[o]);
        }
    }
    return max(projection.trace * total - projection.along * (along_re * along_re + along_im * along_im), R(0.0));
}

}  // namespace insdl::INSDL_ISA
