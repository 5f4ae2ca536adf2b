#pragma once
// Cholesky factors and the products around them, matrices row by row, lower triangles. Small tiles of accumulators stay
// in registers. kN > 0 fixes the size at compile time.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

// Elements from one row of a matrix to the next: odd, so that the rows of a column do not fall into the same cache
// sets.
INSDL_INLINE constexpr int leading(int n) { return n | 1; }

// a becomes its factor L (a = L L'), the diagonal real; inverse[j] = 1 / L_jj. Returns the smallest L_jj^2 (NaN kept).
template <int kN, class M>
INSDL_INLINE typename Element<M>::Real factorise(int size, M* a, typename Element<M>::Real* inverse) {
    using E = Element<M>;
    using R = typename E::Real;
    const int n = kN > 0 ? kN : size, ld = leading(n);
    R smallest(typename R::Scalar(1e30));
    for (int j = 0; j < n; ++j) {
        const M* row_j = a + j * ld;
        R pivot = E::real(row_j[j]);
        for (int k = 0; k < j; ++k) pivot -= E::norm2(row_j[k]);
        smallest = select(pivot < smallest, pivot, smallest);
        smallest = select(pivot == pivot, smallest, pivot);
        const R positive = max(pivot, R(typename R::Scalar(1e-30)));
        inverse[j] = inverse_sqrt(positive);
        a[j * ld + j] = M(positive * inverse[j]);
        int i = j + 1;
        for (; i + 3 < n; i += 4) {
            M *r0 = a + i * ld, *r1 = r0 + ld, *r2 = r1 + ld, *r3 = r2 + ld;
            M s0 = r0[j], s1 = r1[j], s2 = r2[j], s3 = r3[j];
            for (int k = 0; k < j; ++k) {
                const M b = row_j[k];
                s0 = E::subtract_conj_second(s0, r0[k], b);
                s1 = E::subtract_conj_second(s1, r1[k], b);
                s2 = E::subtract_conj_second(s2, r2[k], b);
                s3 = E::subtract_conj_second(s3, r3[k], b);
            }
            r0[j] = s0 * inverse[j];
            r1[j] = s1 * inverse[j];
            r2[j] = s2 * inverse[j];
            r3[j] = s3 * inverse[j];
        }
        for (; i < n; ++i) {
            M s = a[i * ld + j];
            for (int k = 0; k < j; ++k) s = E::subtract_conj_second(s, a[i * ld + k], row_j[k]);
            a[i * ld + j] = s * inverse[j];
        }
    }
    return smallest;
}

// The lower triangle of c becomes that of L' V L; v is Hermitian, given in full; b is workspace.
template <int kN, class M>
INSDL_INLINE void congruence(int size, const M* l, const M* v, M* b, M* c) {
    using E = Element<M>;
    using S = typename E::Real::Scalar;
    const int n = kN > 0 ? kN : size, ld = leading(n);
    // b_kj = sum_{l >= j} v_kl L_lj for k >= j
    for (int j = 0; j < n; j += 2) {
        const bool two = j + 1 < n;
        int k = j;
        for (; two && k + 1 < n; k += 2) {
            const M *v0 = v + k * ld, *v1 = v0 + ld;
            M s00(S(0)), s01(S(0)), s10(S(0)), s11(S(0));
            s00 = E::add(s00, v0[j], l[j * ld + j]);
            s10 = E::add(s10, v1[j], l[j * ld + j]);
            for (int i = j + 1; i < n; ++i) {
                const M a = l[i * ld + j], d = l[i * ld + j + 1];
                s00 = E::add(s00, v0[i], a);
                s01 = E::add(s01, v0[i], d);
                s10 = E::add(s10, v1[i], a);
                s11 = E::add(s11, v1[i], d);
            }
            b[k * ld + j] = s00;
            b[k * ld + j + 1] = s01;
            b[(k + 1) * ld + j] = s10;
            b[(k + 1) * ld + j + 1] = s11;
        }
        for (; k < n; ++k)
            for (int column = j; column < (two ? j + 2 : j + 1); ++column) {
                M s(S(0));
                for (int i = column; i < n; ++i) s = E::add(s, v[k * ld + i], l[i * ld + column]);
                b[k * ld + column] = s;
            }
    }
    // c_ij = sum_{k >= i} conj(L_ki) b_kj for i >= j
    for (int i = 0; i < n; i += 2) {
        const bool two = i + 1 < n;
        for (int j = 0; j <= i; j += 2) {
            if (two && j + 1 <= i + 1 && j + 1 < n) {
                M s00(S(0)), s01(S(0)), s10(S(0)), s11(S(0));
                s00 = E::add_conj_first(s00, l[i * ld + i], b[i * ld + j]);
                if (j + 1 <= i) s01 = E::add_conj_first(s01, l[i * ld + i], b[i * ld + j + 1]);
                for (int k = i + 1; k < n; ++k) {
                    const M a = l[k * ld + i], d = l[k * ld + i + 1], e = b[k * ld + j], f = b[k * ld + j + 1];
                    s00 = E::add_conj_first(s00, a, e);
                    s01 = E::add_conj_first(s01, a, f);
                    s10 = E::add_conj_first(s10, d, e);
                    s11 = E::add_conj_first(s11, d, f);
                }
                c[i * ld + j] = s00;
                if (j + 1 <= i) c[i * ld + j + 1] = s01;
                c[(i + 1) * ld + j] = s10;
                c[(i + 1) * ld + j + 1] = s11;
            } else {
                for (int column = j; column <= i && column < j + 2; ++column) {
                    M s(S(0));
                    for (int k = i; k < n; ++k) s = E::add_conj_first(s, l[k * ld + i], b[k * ld + column]);
                    c[i * ld + column] = s;
                }
            }
        }
    }
}

// row <- row L, in place: element j of the result needs elements >= j only.
template <int kN, class M, class Row>
INSDL_INLINE void times_factor(int size, const M* l, Row* row) {
    using E = Element<Row>;
    const int n = kN > 0 ? kN : size, ld = leading(n);
    for (int j = 0; j < n; ++j) {
        Row s(typename E::Real::Scalar(0));
        for (int k = j; k < n; ++k) s = E::add(s, row[k], Row(l[k * ld + j]));
        row[j] = s;
    }
}

// row <- row L^{-}', in place, by forward substitution.
template <int kN, class M, class Row>
INSDL_INLINE void times_inverse_adjoint(int size, const M* l, const typename Element<M>::Real* inverse, Row* row) {
    using E = Element<Row>;
    const int n = kN > 0 ? kN : size, ld = leading(n);
    for (int j = 0; j < n; ++j) {
        Row s = row[j];
        for (int k = 0; k < j; ++k) s = E::subtract_conj_second(s, row[k], Row(l[j * ld + k]));
        row[j] = s * inverse[j];
    }
}

}  // namespace insdl::INSDL_ISA
