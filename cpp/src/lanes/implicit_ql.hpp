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

// In: d (n), e (n, the last unused), z: n_rows rows of n. Out: d the eigenvalues, unordered; rows times the
// eigenvectors. Returns the lanes that did not converge.
template <int kN, class R>
INSDL_INLINE typename R::Mask implicit_ql(int size, R* d, R* e, int n_rows, R* z) {
    using S = typename R::Scalar;
    const int n = kN > 0 ? kN : size;
    const R zero(S(0)), one(S(1)), two(S(2)), epsilon(kEpsilon<S>);
    e[n - 1] = zero;
    auto failed = zero < zero;
    for (int l = 0; l + 1 < n; ++l) {
        for (int sweep = 0;; ++sweep) {
            // Where each lane's block ends: the first negligible subdiagonal element at or after l. A number a lane.
            R last(S(n - 1));
            for (int i = n - 2; i >= l; --i)
                last = select(abs(e[i]) <= epsilon * (abs(d[i]) + abs(d[i + 1])), R(S(i)), last);
            auto open = R(S(l)) < last;
            if (!any(open)) break;
            if (sweep == kMostSweeps) {
                failed = failed | open;
                break;
            }
            int top = n - 1;
            while (top > l + 1 && !any(R(S(top)) == last)) --top;
            R end = d[l];
            for (int i = l + 1; i <= top; ++i) end = select(R(S(i)) == last, d[i], end);
            // Wilkinson's shift from the first two-by-two block
            const R el = select(open, e[l], one);
            R g = (d[l + 1] - d[l]) / (two * el);
            const R root = sqrt(g * g + one);
            g = (end - d[l]) + el / (g + select(g < zero, -root, root));
            R s = one, c = one, p = zero;
            for (int i = top - 1; i >= l; --i) {
                const auto on = (R(S(i)) < last) & open;
                const R f = s * e[i], b = c * e[i];
                const R r2 = f * f + g * g;
                const auto moving = (r2 > zero) & on;
                const R r = sqrt(select(moving, r2, one));
                const R inverse = one / r;
                const R sn = f * inverse, cn = g * inverse;
                const R di = d[i + 1] - p;
                const R rr = (d[i] - di) * sn + two * cn * b;
                const R pn = sn * rr;
                e[i + 1] = select(on, select(moving & (R(S(i + 1)) < last), r, zero), e[i + 1]);
                d[i + 1] = select(moving, di + pn, select(on, di, d[i + 1]));
                open = open & (moving | ~on);  // an underflow ends the lane's sweep early; the next one goes on
                g = select(moving, cn * rr - b, g);
                s = select(moving, sn, s);
                c = select(moving, cn, c);
                p = select(moving, pn, p);
                const R sr = select(moving, sn, zero), cr = select(moving, cn, one);
                for (int k = 0; k < n_rows; ++k) {
                    R* row = z + k * n;
                    const R a = row[i], h = row[i + 1];
                    row[i + 1] = sr * a + cr * h;
                    row[i] = cr * a - sr * h;
                }
            }
            d[l] = select(open, d[l] - p, d[l]);
            e[l] = select(open, g, e[l]);
        }
    }
    return failed;
}

}  // namespace insdl::INSDL_ISA
