#pragma once
// From a block of q, one a lane, to energies and rows: split form C = L'V L with T = L L' (N x N), or full form
// L' Sigma L with Q = L L' (2N x 2N). docs/spin-wave-theory.md has the formulas.

#include "../kernel.hpp"
#include "cholesky.hpp"
#include "functions.hpp"
#include "implicit_ql.hpp"
#include "sorting.hpp"
#include "tridiagonal.hpp"

namespace insdl::INSDL_ISA {

// Below these fractions of the largest one, a pivot, a squared energy (split) or an energy (full) is left to the
// careful solver: too few digits remain.
template <class T>
struct Limits;
template <>
struct Limits<double> {
    static constexpr double kPivot = 1e-11, kSquared = 1e-11, kEnergy = 1e-6;
};
template <>
struct Limits<float> {
    static constexpr float kPivot = 1e-4F, kSquared = 1e-3F, kEnergy = 3e-2F;
};

// Memory of one block, cut from the workspace.
template <class R, class M>
struct Block {
    M *v, *t, *b, *rows, *u, *w;
    R *d, *e, *inverse, *z, *trig, *phase;

    static std::size_t bytes(const FormView& form, int n_rows) {
        const std::size_t n = static_cast<std::size_t>(form.n), r = static_cast<std::size_t>(n_rows);
        return sizeof(M) * (3 * n * static_cast<std::size_t>(leading(form.n)) + r * n + 2 * n) +
               sizeof(R) * (3 * n + 2 * r * n + 2 * static_cast<std::size_t>(form.n_waves) +
                            2 * static_cast<std::size_t>(form.n_site_waves));
    }

    Block(const FormView& form, int n_rows, void* memory) {
        const std::ptrdiff_t n = form.n, matrix = n * leading(form.n);
        M* m = static_cast<M*>(memory);
        v = m;
        t = v + matrix;
        b = t + matrix;
        rows = b + matrix;
        u = rows + n_rows * n;
        w = u + n;
        R* r = reinterpret_cast<R*>(w + n);
        d = r;
        e = d + n;
        inverse = e + n;
        z = inverse + n;
        trig = z + 2 * n_rows * n;
        phase = trig + 2 * form.n_waves;
    }

    // n real lanes to work with once u is no longer needed.
    R* u_as_real() { return reinterpret_cast<R*>(u); }
};

// cos and sin of 2 pi q.wave for every lane, worked out in double precision. q: lanes' components, (3, width).
template <class R>
INSDL_INLINE void cosine_and_sine(const double* wave, const double* q, R* pair) {
    using T = typename R::Scalar;
    using D = Lanes<double, R::kWidth* static_cast<int>(sizeof(double)) / kBytes>;  // as many lanes as R has
    if (wave[0] == 0.0 && wave[1] == 0.0 && wave[2] == 0.0) {
        pair[0] = R(T(1));
        pair[1] = R(T(0));
        return;
    }
    D s, c;
    sin_cos_turns(
        D(wave[0]) * D::load(q) + D(wave[1]) * D::load(q + R::kWidth) + D(wave[2]) * D::load(q + 2 * R::kWidth), s, c);
    if constexpr (sizeof(T) == sizeof(double)) {
        pair[0] = c;
        pair[1] = s;
    } else {
        double wide[R::kWidth];
        T narrow[R::kWidth];
        c.store(wide);
        for (int lane = 0; lane < R::kWidth; ++lane) narrow[lane] = static_cast<T>(wide[lane]);
        pair[0] = R::load(narrow);
        s.store(wide);
        for (int lane = 0; lane < R::kWidth; ++lane) narrow[lane] = static_cast<T>(wide[lane]);
        pair[1] = R::load(narrow);
    }
}

template <class R>
INSDL_INLINE void trigonometry(int n_waves, const double* waves, const double* q, R* trig) {
    for (int k = 0; k < n_waves; ++k) cosine_and_sine(waves + 3 * k, q, trig + 2 * k);
}

// The same for the waves of a form, by sums of angles where a wave is the sum or the difference of two others.
template <class R>
INSDL_INLINE void form_trigonometry(const FormView& form, const double* q, R* trig) {
    using T = typename R::Scalar;
    for (int k = 0; k < form.n_waves; ++k) {
        const WaveStep& step = form.wave_steps[k];
        R* const pair = trig + 2 * step.wave;
        if (step.a < 0) {
            cosine_and_sine(form.waves + 3 * step.wave, q, pair);
            continue;
        }
        const R sign(static_cast<T>(step.sign)), c = trig[2 * step.b], s = sign * trig[2 * step.b + 1];
        const R cosine = trig[2 * step.a], sine = trig[2 * step.a + 1];
        pair[0] = cosine * c - sine * s;
        pair[1] = sine * c + cosine * s;
    }
}

template <class R, class M>
INSDL_INLINE void set_part(M* place, int imaginary, const R& value) {
    reinterpret_cast<R*>(place)[imaginary] = value;
}

template <int kN, class M>
INSDL_INLINE void assemble(const FormView& form, const double* values, const typename Element<M>::Real* trig, M* first,
                           M* second) {
    using E = Element<M>;
    using R = typename E::Real;
    using T = typename R::Scalar;
    const int n = kN > 0 ? kN : form.n, ld = leading(n);
    const M nothing(T(0));
    for (int i = 0; i < n; ++i)
        for (int j = 0; j <= i; ++j) first[i * ld + j] = nothing;
    if (form.split)
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= i; ++j) second[i * ld + j] = nothing;
    for (int k = 0; k < form.n_entries; ++k) {
        const Entry& entry = form.entries[k];
        R sum(T(0));
        for (int t = entry.first; t < form.entries[k + 1].first; ++t) {
            const Term& term = form.terms[t];
            sum += R(static_cast<T>(values[term.value])) * trig[term.trig];
        }
        M* matrix = entry.matrix == 0 ? first : second;
        set_part(matrix + entry.row * ld + entry.column, entry.imaginary, sum);
    }
}

// Diagonalises the matrix a (lower triangle) and turns the block's n_rows rows. Afterwards d holds the eigenvalues and
// z the turned rows, a column of n_rows a mode; a complex row as two, real and imaginary part one after the other.
template <int kN, class R, class M>
INSDL_INLINE typename R::Mask diagonalise(int n, M* a, int n_rows, Block<R, M>& block) {
    using E = Element<M>;
    constexpr int kParts = E::kComplex ? 2 : 1;
    tridiagonalise<kN>(n, a, block.d, block.e, n_rows, block.rows, block.u, block.w);
    for (int k = 0; k < n; ++k)
        for (int r = 0; r < n_rows; ++r) {
            R* to = block.z + (k * n_rows + r) * kParts;
            if constexpr (E::kComplex) {
                to[0] = block.rows[r * n + k].re;
                to[1] = block.rows[r * n + k].im;
            } else {
                to[0] = block.rows[r * n + k];
            }
        }
    const int n_real = kParts * n_rows;
    if constexpr (kN == 1)
        return R(0) < R(0);
    else if constexpr (kN == 2)
        return two_by_two(block.d, block.e[0], n_real, block.z);
    else
        return implicit_ql<kN>(n, block.d, block.e, n_real, block.z);
}

// The block's rows before any of the solver's transformations: phases, form factors and directions of the sites.
template <class R, class M>
INSDL_INLINE void set_rows(const FormView& form, int n, const R* factors, Block<R, M>& block) {
    using E = Element<M>;
    using T = typename R::Scalar;
    R* const z = reinterpret_cast<R*>(block.rows);
    constexpr int kParts = E::kComplex ? 2 : 1;
    for (int k = 0; k < form.n_rows * n * kParts; ++k) z[k] = R(T(0));
    for (int k = 0; k < form.n_row_terms; ++k) {
        const RowTerm& term = form.row_terms[k];
        R* element = z + (term.row * n + term.column) * kParts;
        R re(static_cast<T>(term.re)), im(static_cast<T>(term.im));
        if (factors) {
            re *= factors[term.site];
            im *= factors[term.site];
        }
        if (const int wave = form.wave_of_site[term.site]; wave > 0) {  // times exp(-i phase)
            const R c = block.phase[2 * wave], s = block.phase[2 * wave + 1];
            const R turned = re * c + im * s;
            im = im * c - re * s;
            re = turned;
        }
        if constexpr (E::kComplex) {
            element[0] += re;
            element[1] += im;
        } else {
            element[0] += term.part ? im : re;
        }
    }
}

// T = L L' in t, the lower triangle of L'V L in v. Returns the lanes where T is close to singular.
template <int kN, class R, class M>
INSDL_INLINE typename R::Mask reduce(int size, Block<R, M>& block) {
    using E = Element<M>;
    using T = typename R::Scalar;
    const int n = kN > 0 ? kN : size, ld = leading(n);
    const R pivot = factorise<kN>(n, block.t, block.inverse);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < i; ++j) block.v[j * ld + i] = E::conj(block.v[i * ld + j]);
    congruence<kN>(n, block.t, block.v, block.b, block.v);
    return ~(pivot > R(Limits<T>::kPivot));
}

// Lanes whose smallest squared energy has too few digits, or that hold something that is not a number.
template <class R>
INSDL_INLINE typename R::Mask too_soft(int n, const R* squared) {
    using T = typename R::Scalar;
    R smallest = squared[0], sum = squared[0];
    for (int m = 1; m < n; ++m) {
        smallest = min(smallest, squared[m]);
        sum += squared[m];
    }
    return ~(smallest > R(Limits<T>::kSquared)) | ~(sum < R(T(1e30)));
}

// w from w^2, with sqrt(w / 2) and 1 / sqrt(2 w).
template <class R>
struct ModeEnergy {
    R energy, root, inverse;
};

template <class R>
INSDL_INLINE ModeEnergy<R> energy_of(const R& squared) {
    using T = typename R::Scalar;
    const R positive = max(squared, R(T(1e-30)));
    const R w = positive * inverse_sqrt(positive), half = w * R(T(0.5));
    const R inverse = inverse_sqrt(half);
    return {w, half * inverse, inverse * R(T(0.5))};
}

// Energies (n_modes, unordered) in d, and the rows' amplitudes in z: (mode, row) or (mode, row, re and im). The factor
// -i of p is in the rows already. Returns the lanes for the careful solver.
template <int kN, class R, class M>
INSDL_INLINE typename R::Mask solve_split(const FormView& form, Block<R, M>& block) {
    using E = Element<M>;
    constexpr int kParts = E::kComplex ? 2 : 1;
    const int n = kN > 0 ? kN : form.n;
    const auto shaky = reduce<kN>(n, block);
    for (int r = 0; r < form.n_rows; ++r) {
        M* row = block.rows + r * n;
        if (r < form.n_rows_x)
            times_factor<kN>(n, block.t, row);
        else
            times_inverse_adjoint<kN>(n, block.t, block.inverse, row);
    }
    auto careful = diagonalise<kN>(n, block.v, form.n_rows, block);
    careful = careful | shaky | too_soft(n, block.d);
    for (int m = 0; m < n; ++m) {
        const auto [w, root, inverse] = energy_of(block.d[m]);
        block.d[m] = w;
        R* column = block.z + m * form.n_rows * kParts;
        for (int k = 0; k < form.n_rows * kParts; ++k) column[k] *= k < form.n_rows_x * kParts ? inverse : root;
    }
    return careful;
}

// Energies (unordered) in d and eigenvectors x = L u / sqrt(2 w), p / -i = sqrt(w / 2) L^{-}' u, both (basis, mode).
// Returns the lanes for the careful solver. The block has n rows.
template <int kN, class R, class M>
INSDL_INLINE typename R::Mask solve_vectors(const FormView& form, Block<R, M>& block, M* x, M* p) {
    using E = Element<M>;
    using T = typename R::Scalar;
    constexpr int kParts = E::kComplex ? 2 : 1;
    const int n = kN > 0 ? kN : form.n, ld = leading(n);
    const auto shaky = reduce<kN>(n, block);
    for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j) block.rows[i * n + j] = M(i == j ? T(1) : T(0));
    auto careful = diagonalise<kN>(n, block.v, n, block);
    careful = careful | shaky | too_soft(n, block.d);
    for (int m = 0; m < n; ++m) {
        const auto [w, root, inverse] = energy_of(block.d[m]);
        block.d[m] = w;
        for (int k = 0; k < n; ++k) {
            const R* u = block.z + (m * n + k) * kParts;
            if constexpr (E::kComplex) {
                x[k * n + m] = M(u[0] * inverse, u[1] * inverse);
                p[k * n + m] = M(u[0] * root, u[1] * root);
            } else {
                x[k * n + m] = u[0] * inverse;
                p[k * n + m] = u[0] * root;
            }
        }
    }
    // x <- L x and p <- L^{-}' p, both from the last row up, four modes at a time.
    for (int k = n - 1; k >= 0; --k) {
        const M* row = block.t + k * ld;
        for (int m = 0; m < n; m += 4) {
            const int count = n - m < 4 ? n - m : 4;
            M sum[4], rest[4];
            for (int c = 0; c < count; ++c) {
                sum[c] = x[k * n + m + c] * E::real(row[k]);
                rest[c] = p[k * n + m + c];
            }
            for (int j = 0; j < k; ++j)
                for (int c = 0; c < count; ++c) sum[c] = E::add(sum[c], row[j], x[j * n + m + c]);
            for (int j = k + 1; j < n; ++j) {
                const M factor = E::conj(block.t[j * ld + k]);
                for (int c = 0; c < count; ++c) rest[c] = E::subtract(rest[c], factor, p[j * n + m + c]);
            }
            for (int c = 0; c < count; ++c) {
                x[k * n + m + c] = sum[c];
                p[k * n + m + c] = rest[c] * block.inverse[k];
            }
        }
    }
    return careful;
}

// c_ij = (L' Sigma L)_ij = i sum_{k < N} [conj(L_ki) L_{k+N,j} - conj(L_{k+N,i}) L_kj], lower triangle.
template <int kN, class M>
INSDL_INLINE void commutator_form(int size, const M* l, M* c) {
    using E = Element<M>;
    using T = typename E::Real::Scalar;
    const int n = kN > 0 ? kN : size, ld = leading(n), half = n / 2;
    for (int i = 0; i < n; ++i)
        for (int j = 0; j <= i; ++j) {
            M s(T(0));
            for (int k = i; k < half; ++k) s = E::add_conj_first(s, l[k * ld + i], l[(k + half) * ld + j]);
            const int first = i > half ? i - half : 0;
            M t(T(0));
            for (int k = first > j ? first : j; k < half; ++k)
                t = E::add_conj_first(t, l[(k + half) * ld + i], l[k * ld + j]);
            s = s - t;
            c[i * ld + j] = {-s.im, s.re};
        }
}

// row <- row Sigma L, rows of 2N elements: (row Sigma)_x = -i row_p, (row Sigma)_p = i row_x.
template <int kN, class R, class M>
INSDL_INLINE void times_commutator(int size, M* row) {
    const int n = kN > 0 ? kN : size, half = n / 2;
    for (int k = 0; k < half; ++k) {
        const M x = row[k], p = row[k + half];
        row[k] = M(p.im, -p.re);
        row[k + half] = M(-x.im, x.re);
    }
}

template <int kN, class R, class M>
INSDL_INLINE typename R::Mask solve_full(const FormView& form, Block<R, M>& block) {
    using T = typename R::Scalar;
    const int n = kN > 0 ? kN : form.n, modes = n / 2;
    const R zero(T(0)), one(T(1));
    const R pivot = factorise<kN>(n, block.v, block.inverse);
    commutator_form<kN>(n, block.v, block.b);
    for (int r = 0; r < form.n_rows; ++r) {
        times_commutator<kN, R>(n, block.rows + r * n);
        times_factor<kN>(n, block.v, block.rows + r * n);
    }
    auto careful = diagonalise<kN>(n, block.b, form.n_rows, block);
    careful = careful | ~(pivot > R(Limits<T>::kPivot));
    // The N positive eigenvalues to the front, in any order: the largest of each is found by sorting later, so here all
    // eigenvalues are sorted, descending, with their rows.
    sort_descending(n, block.d, 2 * form.n_rows, block.z);
    careful = careful | ~(block.d[modes - 1] > R(Limits<T>::kEnergy)) | ~(block.d[0] < R(T(1e30)));
    for (int m = 0; m < modes; ++m) {
        const R factor = one / sqrt(select(block.d[m] > zero, block.d[m], one));
        for (int r = 0; r < 2 * form.n_rows; ++r) block.z[m * 2 * form.n_rows + r] *= factor;
    }
    return careful;
}

}  // namespace insdl::INSDL_ISA
