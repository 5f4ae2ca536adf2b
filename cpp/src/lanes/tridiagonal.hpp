#pragma once
// Householder reduction of a Hermitian matrix to real tridiagonal form, carrying rows along.
// H = 1 - tau u u' with u = x + e^{i arg x_0} |x| e_0 and tau = 1 / (|x|^2 + |x_0| |x|), so H x = -e^{i arg x_0} |x|
// e_0; A <- A - u w' - w u' with p = tau A u and w = p - tau (u'p) u / 2. Golub & Van Loan, Matrix Computations, 8.3.1.

#include "cholesky.hpp"

namespace insdl::INSDL_ISA {

// In: the lower triangle of a; n_rows rows of n elements (complex rows for a complex matrix; any real rows for a real
// one). Out: diagonal d and subdiagonal e (n - 1), rows times the unitary matrix Q of A = Q T Q'. u, w: n elements
// each.
template <int kN, class M>
INSDL_INLINE void tridiagonalise(int size, M* a, typename Element<M>::Real* d, typename Element<M>::Real* e, int n_rows,
                                 M* rows, M* u, M* w) {
    using E = Element<M>;
    using R = typename E::Real;
    using S = typename R::Scalar;
    const int n = kN > 0 ? kN : size, ld = leading(n);
    const R zero(S(0)), one(S(1)), tiny(S(1e-30));
    for (int k = 0; k + 1 < n; ++k) {
        d[k] = E::real(a[k * ld + k]);
        const int first = k + 1;
        if (first == n - 1) {  // a phase alone
            const M x = a[first * ld + k];
            e[k] = E::real(x);
            if constexpr (E::kComplex) {
                e[k] = sqrt(E::norm2(x));
                const auto pointed = e[k] > tiny;
                const R scale = one / select(pointed, e[k], one);
                const M turn{select(pointed, x.re * scale, one), select(pointed, x.im * scale, zero)};
                for (int r = 0; r < n_rows; ++r) rows[r * n + first] = E::add(M(zero), rows[r * n + first], turn);
            }
            break;
        }
        R squared = zero;
        for (int i = first; i < n; ++i) {
            u[i] = a[i * ld + k];
            squared += E::norm2(u[i]);
        }
        const R length = sqrt(squared);
        const R head2 = E::norm2(u[first]);
        const R head = sqrt(head2);
        const auto pointed = head > tiny;
        const R scale = one / select(pointed, head, one);
        M direction = u[first] * scale;
        if constexpr (E::kComplex)
            direction = {select(pointed, direction.re, one), select(pointed, direction.im, zero)};
        else
            direction = select(pointed, direction, one);
        u[first] = u[first] + direction * length;
        const R product = squared + head * length;
        const auto turns = product > tiny;
        const R tau = select(turns, one / select(turns, product, one), zero);
        e[k] = length;  // times -direction, a phase that is turned away below
        for (int r = 0; r < n_rows; ++r) {
            M* row = rows + r * n;
            M s(S(0));
            for (int j = first; j < n; ++j) s = E::add(s, row[j], u[j]);
            s = s * tau;
            for (int j = first; j < n; ++j) row[j] = E::subtract_conj_second(row[j], s, u[j]);
        }
        // p = tau A u from the lower triangle alone
        for (int i = first; i < n; ++i) w[i] = M(zero);
        for (int i = first; i < n; ++i) {
            const M* line = a + i * ld;
            const M ui = u[i];
            M s = u[i] * E::real(line[i]);
            for (int j = first; j < i; ++j) {
                s = E::add(s, line[j], u[j]);
                w[j] = E::add_conj_first(w[j], line[j], ui);
            }
            w[i] = w[i] + s;
        }
        R half = zero;
        for (int i = first; i < n; ++i) {
            w[i] = w[i] * tau;
            half += E::real(E::add_conj_first(M(zero), u[i], w[i]));
        }
        half = half * tau * R(S(0.5));
        for (int i = first; i < n; ++i) w[i] = w[i] - u[i] * half;
        for (int i = first; i < n; ++i) {
            M* line = a + i * ld;
            const M ui = u[i], wi = w[i];
            for (int j = first; j <= i; ++j)
                line[j] = E::subtract_conj_second(E::subtract_conj_second(line[j], ui, w[j]), wi, u[j]);
        }
        // Turn basis vector k + 1 by -direction, which makes the subdiagonal element real and positive.
        const M turn = -direction;
        for (int i = first + 1; i < n; ++i) a[i * ld + first] = E::add(M(zero), a[i * ld + first], turn);
        for (int r = 0; r < n_rows; ++r) rows[r * n + first] = E::add(M(zero), rows[r * n + first], turn);
    }
    d[n - 1] = E::real(a[(n - 1) * ld + n - 1]);
}

}  // namespace insdl::INSDL_ISA
