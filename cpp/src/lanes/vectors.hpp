#pragma once
// Eigenvectors of a block of q, with the careful solver for the lanes that need it, and rows of amplitudes at q + G.

#include "solve.hpp"

namespace insdl::INSDL_ISA {

inline constexpr int kMostShiftRows = 6;  // three directions of x and of p

// rows[(group, row), re and im, mode] at q + G, from the eigenvectors.
template <class R, class M>
INSDL_INLINE void rows_at_shift(const FormView& form, const ShiftRows& shift, std::ptrdiff_t g, const M* x, const M* p,
                                R* rows) {
    using E = Element<M>;
    const int n = form.n, count = shift.n_groups * shift.n_rows;
    for (int row = 0; row < count; ++row) {
        const std::ptrdiff_t place = g * count + row;
        const M* source = shift.parity[row % shift.n_rows] > 0.0 ? x : p;
        R *re = rows + 2 * row * n, *im = re + n;
        for (int m = 0; m < n; ++m) re[m] = im[m] = R(0.0);
        const auto add = [&](R* to, double ShiftTerm::* part) {
            if constexpr (!E::kComplex)
                for (std::int32_t t = shift.first_term[place]; t < shift.first_term[place + 1]; ++t) {
                    const M* vector = source + shift.terms[t].column * n;
                    const R weight(shift.terms[t].*part);
                    for (int m = 0; m < n; ++m) to[m] += weight * vector[m];
                }
        };
        if constexpr (E::kComplex) {
            for (std::int32_t t = shift.first_term[place]; t < shift.first_term[place + 1]; ++t) {
                const M* vector = source + shift.terms[t].column * n;
                const R cr(shift.terms[t].re), ci(shift.terms[t].im);
                for (int m = 0; m < n; ++m) {
                    re[m] += cr * vector[m].re - ci * vector[m].im;
                    im[m] += cr * vector[m].im + ci * vector[m].re;
                }
            }
        } else {
            if (shift.parts[place] & 1) add(re, &ShiftTerm::re);
            if (shift.parts[place] & 2) add(im, &ShiftTerm::im);
        }
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
