#pragma once
// Eigenvalues of a real symmetric tridiagonal matrix by implicit QL, all lanes in step: a lane that has converged turns
// by nothing. Bowdler, Martin, Reinsch & Wilkinson, Numer. Math. 11, 293 (1968). A lane's result does not depend on
// what the other lanes hold.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

inline constexpr int kMostSweeps = 50;

template <class T>
inline constexpr T kEpsilon = T(2.220446049250313e-16);
template <>
inline constexpr float kEpsilon<float> = 1.1920929e-7F;

// Added to a sum of squares before its root is inverted; far below any square that matters.
template <class T>
inline constexpr T kTiny = T(1e-290);
template <>
inline constexpr float kTiny<float> = 1e-36F;

// One QL sweep over rows l to top, shift given by g. In lanes where `open` is not set nothing changes. Lanes may end
// their blocks before top: `last` says where.
template <bool kUniform, class R>
INSDL_INLINE void sweep(int l, int top, typename R::Mask open, const R& last, R g, R* d, R* e, int n_rows, R* z) {
    using S = typename R::Scalar;
    const R zero(S(0)), one(S(1)), tiny(kTiny<S>);
    R s = one, c = one, p = zero;
    for (int i = top - 1; i >= l; --i) {
        const R f = s * e[i], b = c * e[i];
        const R r2 = f * f + (g * g + tiny);
        const R inverse = inverse_sqrt(r2);
        const auto on = kUniform ? open : (R(S(i)) < last) & open;
        const auto moving = (r2 > tiny) & on;
        const R sn = f * inverse, cn = g * inverse;
        const R di = d[i + 1] - p;
        const R rr = (d[i] - di) * sn + (cn + cn) * b;
        const R pn = sn * rr, gn = cn * rr - b;
        const auto inside = kUniform ? moving : moving & (R(S(i + 1)) < last);
        // The end of a block has no element below it.
        const R below = kUniform && i + 1 == top ? zero : r2 * inverse;
        e[i + 1] = select(inside, below, select(on, zero, e[i + 1]));
        d[i + 1] = select(moving, di + pn, select(on, di, d[i + 1]));
        if constexpr (kUniform) {
            g = gn, s = sn, c = cn, p = pn;
        } else {  // a lane starts with its block
            g = select(moving, gn, g);
            s = select(moving, sn, s);
            c = select(moving, cn, c);
            p = select(moving, pn, p);
        }
        open = open & (moving | ~on);  // an underflow ends the lane's sweep early; the next one goes on
        const R sr = select(moving, sn, zero), cr = select(moving, cn, one);
        R *low = z + i * n_rows, *high = low + n_rows;
        for (int k = 0; k < n_rows; ++k) {
            const R a = low[k], h = high[k];
            high[k] = sr * a + cr * h;
            low[k] = cr * a - sr * h;
        }
    }
    d[l] = select(open, d[l] - p, d[l]);
    e[l] = select(open, g, e[l]);
}

// In: d (n), e (n, the last unused), z: n columns of n_rows. Out: d the eigenvalues, unordered; rows times the
// eigenvectors. Returns the lanes that did not converge.
template <int kN, class R>
INSDL_INLINE typename R::Mask implicit_ql(int size, R* d, R* e, int n_rows, R* z) {
    using S = typename R::Scalar;
    const int n = kN > 0 ? kN : size;
    const R zero(S(0)), one(S(1)), two(S(2)), epsilon(kEpsilon<S>);
    e[n - 1] = zero;
    auto failed = zero < zero;
    for (int l = 0; l + 1 < n; ++l) {
        for (int sweeps = 0;; ++sweeps) {
            if (!any(abs(e[l]) > epsilon * (abs(d[l]) + abs(d[l + 1])))) break;
            // Where each lane's block ends: the first negligible subdiagonal element at or after l. A number a lane.
            R last(S(n - 1));
            for (int i = n - 2; i >= l; --i)
                last = select(abs(e[i]) > epsilon * (abs(d[i]) + abs(d[i + 1])), last, R(S(i)));
            const auto open = R(S(l)) < last;
            if (sweeps == kMostSweeps) {
                failed = failed | open;
                break;
            }
            // Wilkinson's shift from the first two-by-two block
            const R el = select(open, e[l], one);
            const R half = (d[l + 1] - d[l]) / (two * el);
            const R root = sqrt(half * half + one);
            const R step = el / (half + select(half < zero, -root, root));
            if (!any(open & (last < R(S(n - 1))))) {
                sweep<true>(l, n - 1, open, last, (d[n - 1] - d[l]) + step, d, e, n_rows, z);
            } else {
                R end = d[l];
                int top = l;
                for (int i = l + 1; i < n; ++i) {
                    const auto here = R(S(i)) == last;
                    end = select(here, d[i], end);
                    if (any(here)) top = i;
                }
                sweep<false>(l, top, open, last, (end - d[l]) + step, d, e, n_rows, z);
            }
        }
    }
    return failed;
}

// The same for two by two, in closed form: one Jacobi rotation.
template <class R>
INSDL_INLINE typename R::Mask two_by_two(R* d, const R& e, int n_rows, R* z) {
    using S = typename R::Scalar;
    const R zero(S(0)), one(S(1));
    const R half = (d[1] - d[0]) * R(S(0.5));
    const R squared = half * half + e * e;
    const R length = squared * inverse_sqrt(squared + R(kTiny<S>));
    const R bottom = abs(half) + length;
    const R t = select(half < zero, -e, e) / select(bottom > zero, bottom, one);  // tangent of the angle
    const R c = inverse_sqrt(one + t * t), s = c * t;
    d[0] = d[0] - t * e;
    d[1] = d[1] + t * e;
    for (int k = 0; k < n_rows; ++k) {
        const R a = z[k], b = z[n_rows + k];
        z[k] = c * a - s * b;
        z[n_rows + k] = s * a + c * b;
    }
    return zero < zero;
}

}  // namespace insdl::INSDL_ISA
