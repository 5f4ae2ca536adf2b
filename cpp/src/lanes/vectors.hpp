#pragma once
// Eigenvectors of a block of q, with the careful solver for the lanes that need it, and rows of amplitudes at q + G.

#include "solve.hpp"

namespace insdl::INSDL_ISA {

inline constexpr int kMostShiftRows = 6;  // three directions of x and of p

// kCount modes of one row: sum of weight * vector over the row's terms, real and imaginary part of the weight where
// parts says that there are any.
template <int kCount, class R, class M>
INSDL_INLINE void row_at_shift(const ShiftRows& shift, std::ptrdiff_t place, const M* source, int n, R* re, R* im) {
    const std::int32_t begin = shift.first_term[place], end = shift.first_term[place + 1];
    R real[kCount], imaginary[kCount];
    for (int c = 0; c < kCount; ++c) real[c] = imaginary[c] = R(0.0);
    if constexpr (Element<M>::kComplex) {
        for (std::int32_t t = begin; t < end; ++t) {
            const M* vector = source + shift.terms[t].column * n;
            const R cr(shift.terms[t].re), ci(shift.terms[t].im);
            for (int c = 0; c < kCount; ++c) {
                real[c] += cr * vector[c].re - ci * vector[c].im;
                imaginary[c] += cr * vector[c].im + ci * vector[c].re;
            }
        }
    } else {
        if (shift.parts[place] & 1)
            for (std::int32_t t = begin; t < end; ++t) {
                const R weight(shift.terms[t].re);
                for (int c = 0; c < kCount; ++c) real[c] += weight * source[shift.terms[t].column * n + c];
            }
        if (shift.parts[place] & 2)
            for (std::int32_t t = begin; t < end; ++t) {
                const R weight(shift.terms[t].im);
                for (int c = 0; c < kCount; ++c) imaginary[c] += weight * source[shift.terms[t].column * n + c];
            }
    }
    for (int c = 0; c < kCount; ++c) {
        re[c] = real[c];
        im[c] = imaginary[c];
    }
}

// rows[(group, row), re and im, mode] at q + G, from the eigenvectors.
template <class R, class M>
INSDL_INLINE void rows_at_shift(const FormView& form, const ShiftRows& shift, std::ptrdiff_t g, const M* x, const M* p,
                                R* rows) {
    const int n = form.n, count = shift.n_groups * shift.n_rows;
    for (int row = 0; row < count; ++row) {
        const M* source = shift.parity[row % shift.n_rows] > 0.0 ? x : p;
        R *re = rows + 2 * row * n, *im = re + n;
        int m = 0;
        for (; m + 4 <= n; m += 4) row_at_shift<4>(shift, g * count + row, source + m, n, re + m, im + m);
        for (; m < n; ++m) row_at_shift<1>(shift, g * count + row, source + m, n, re + m, im + m);
    }
}

// One lane of a pack.
template <class R>
INSDL_INLINE void set_lane(R& pack, std::ptrdiff_t lane, double value) {
    double values[R::kWidth];
    pack.store(values);
    values[lane] = value;
    pack = R::load(values);
}

// Energies in block.d and eigenvectors x, p of the block's q, assembled already; Task has `careful` and `context`.
template <class Task, class R, class M>
void solve_with_care(const Task& task, std::ptrdiff_t begin, std::ptrdiff_t used, Block<R, M>& block, M* x, M* p) {
    constexpr int kParts = Element<M>::kComplex ? 2 : 1;
    const FormView& form = *task.form;
    const int n = form.n;
    const auto careful = solve_vectors<0>(form, block, x, p);
    const R unit(task.values[form.n_values + 1]);
    for (int m = 0; m < n; ++m) block.d[m] *= unit;
    if (!any(careful)) return;
    double flags[R::kWidth];
    select(careful, R(1.0), R(0.0)).store(flags);
    double* energy = reinterpret_cast<double*>(block.v);  // the matrices are no longer needed
    double *lane_x = energy + n, *lane_p = lane_x + kParts * n * n;
    for (std::ptrdiff_t lane = 0; lane < R::kWidth; ++lane) {
        if (flags[lane] == 0.0) continue;
        const bool good = lane < used && task.careful(task.context, begin + lane, energy, lane_x, lane_p);
        for (int m = 0; m < n; ++m) set_lane(block.d[m], lane, good ? energy[m] : -1e6);
        for (int k = 0; k < kParts * n * n; ++k) {
            set_lane(reinterpret_cast<R*>(x)[k], lane, good ? lane_x[k] : 0.0);
            set_lane(reinterpret_cast<R*>(p)[k], lane, good ? lane_p[k] : 0.0);
        }
    }
}

}  // namespace insdl::INSDL_ISA
