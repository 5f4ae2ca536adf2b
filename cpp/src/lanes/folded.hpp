#pragma once
// Energies and intensities of a list of q, each distinct q solved once: equivalent ones share its energies, and its
// eigenvectors give the rows of each G.

#include "modes.hpp"
#include "perpendicular.hpp"
#include "vectors.hpp"

namespace insdl::INSDL_ISA {

// Amplitudes of every mode at q + G summed over the groups of sites: v[row, re and im, mode], in place of the first
// group.
template <class R>
INSDL_INLINE void sum_groups(const ShiftRows& shift, int n, const R* phase, R* rows) {
    for (int group = 0; group < shift.n_groups; ++group) {
        const R c = phase[2 * group], s = phase[2 * group + 1];
        for (int r = 0; r < shift.n_rows; ++r) {
            const R* re = rows + 2 * (group * shift.n_rows + r) * n;
            R* sum = rows + 2 * r * n;
            for (int m = 0; m < n; ++m) {  // times exp(-i phase)
                const R x = re[m] * c + re[n + m] * s, y = re[n + m] * c - re[m] * s;
                sum[m] = group ? sum[m] + x : x;
                sum[n + m] = group ? sum[n + m] + y : y;
            }
        }
    }
}

template <class R, class M>
void folded_of_form(const FoldedTask& task) {
    constexpr int kWidth = R::kWidth;
    const FormView& form = *task.form;
    const FoldedView& folded = *task.folded;
    const ShiftRows& shift = folded.rows;
    const int n = form.n;
    char* memory = static_cast<char*>(task.workspace);
    Block<R, M> block(form, n, memory);
    M* x = reinterpret_cast<M*>(memory + Block<R, M>::bytes(form, n));
    M* p = x + n * n;
    R* rows = reinterpret_cast<R*>(p + n * n);
    R* phase = rows + 2 * shift.n_groups * shift.n_rows * n;
    double* energies = reinterpret_cast<double*>(phase + 2 * shift.n_groups);  // (lane, mode)
    double* values = energies + n * kWidth;                                    // (side, mode, lane)
    alignas(64) double q[3 * kWidth], point[3 * kWidth];
    for (std::ptrdiff_t begin = task.begin; begin < task.end; begin += kWidth) {
        const std::ptrdiff_t left = task.end - begin, used = left < kWidth ? left : kWidth;
        gather_q<kWidth>(folded.solve_q + 3 * begin, left, q);
        form_trigonometry(form, q, block.trig);
        assemble<0>(form, task.values, block.trig, block.v, block.t);
        solve_with_care(task, begin, used, block, x, p);
        // Sorted once for all points: columns of x and p with the energies.
        constexpr int kParts = Element<M>::kComplex ? 2 : 1;
        sort_columns<kParts>(n, block.d, reinterpret_cast<R*>(x), reinterpret_cast<R*>(p));
        for (int m = 0; m < n; ++m) {
            double lanes[kWidth];
            block.d[m].store(lanes);
            for (int lane = 0; lane < kWidth; ++lane) energies[lane * n + m] = lanes[lane];
        }
        for (std::ptrdiff_t g = 0; g < folded.n_shift; ++g) {
            const std::int32_t* places[2] = {folded.plus + g * folded.n_solve + begin,
                                             folded.minus + g * folded.n_solve + begin};
            bool wanted = false;
            for (std::ptrdiff_t lane = 0; lane < used; ++lane)
                wanted = wanted || places[0][lane] >= 0 || places[1][lane] >= 0;
            if (!wanted) continue;
            for (int a = 0; a < 3; ++a)
                for (int lane = 0; lane < kWidth; ++lane)
                    point[a * kWidth + lane] = q[a * kWidth + lane] + folded.shift[3 * g + a];
            R cart[3];
            cartesian(form.reciprocal, point, cart);
            const R squared = cart[0] * cart[0] + cart[1] * cart[1] + cart[2] * cart[2];
            const Projection<R> projection(squared);
            R along[2][kMostShiftRows];
            for (int r = 0; r < shift.n_rows; ++r) {
                const double* d = shift.directions + 3 * r;
                along[0][r] = cart[0] * R(d[0]) + cart[1] * R(d[1]) + cart[2] * R(d[2]);
                along[1][r] = along[0][r] * R(shift.parity[r]);
            }
            rows_at_shift(form, shift, g, x, p, rows);
            if (shift.n_groups > 1) {
                trigonometry(shift.n_groups, folded.group_waves, point, phase);
                sum_groups(shift, n, phase, rows);
            }
            for (int m = 0; m < n; ++m) {
                R re[kMostShiftRows], im[kMostShiftRows];
                for (int r = 0; r < shift.n_rows; ++r) {
                    re[r] = rows[2 * r * n + m];
                    im[r] = rows[(2 * r + 1) * n + m];
                }
                for (int side = 0; side < 2; ++side)
                    perpendicular(shift, side, re, im, along[side], projection).store(values + (side * n + m) * kWidth);
            }
            for (int side = 0; side < 2; ++side)
                for (std::ptrdiff_t lane = 0; lane < used; ++lane) {
                    const std::int32_t place = places[side][lane];
                    if (place < 0) continue;
                    double* to = task.intensity + static_cast<std::ptrdiff_t>(place) * n;
                    const double* from = values + side * n * kWidth + lane;
                    for (int m = 0; m < n; ++m) to[m] = from[m * kWidth];
                    __builtin_memcpy(task.energy + static_cast<std::ptrdiff_t>(place) * n, energies + lane * n,
                                     sizeof(double) * static_cast<std::size_t>(n));
                }
        }
    }
}

template <class R>
void folded(const FoldedTask* task) {
    if (task->form->is_complex)
        folded_of_form<R, ComplexLanes<R>>(*task);
    else
        folded_of_form<R, R>(*task);
}

template <class R>
std::size_t folded_workspace(const FormView* form, const FoldedView* folded) {
    const std::size_t n = static_cast<std::size_t>(form->n);
    const std::size_t groups = static_cast<std::size_t>(folded->rows.n_groups);
    const std::size_t rows = groups * static_cast<std::size_t>(folded->rows.n_rows);
    const std::size_t vectors = form->is_complex
                                    ? Block<R, ComplexLanes<R>>::bytes(*form, form->n) + 4 * n * n * sizeof(R)
                                    : Block<R, R>::bytes(*form, form->n) + 2 * n * n * sizeof(R);
    return vectors + sizeof(R) * (2 * rows * n + 2 * groups + 3 * n);
}

}  // namespace insdl::INSDL_ISA
