#pragma once
// Modes into the points of an image: every distinct q is solved once, its rows are formed for each reciprocal vector G
// of the magnetic cell, and +-(q + G) are seen at the third component of Q where each incident energy sees the mode's
// energy.

#include "../kernel.hpp"
#include "perpendicular.hpp"
#include "vectors.hpp"

namespace insdl::INSDL_ISA {

inline constexpr double kNeutronMass = 2.0721;       // E / k^2 of a neutron, meV angstrom^2
inline constexpr double kBoltzmann = 0.08617333262;  // meV / K

// Everything that one block of q needs, cut from the workspace.
template <class R, class M>
struct Points {
    M *x, *p;
    R *rows, *weights, *plus, *minus, *energy;
    R* turns;                            // (n_groups) cos and sin of each layer's phase
    double* nowhere;                     // (n_values) for what has no place
    std::int32_t *first_bin, *last_bin;  // (mode, block) bins that some lane of the mode reaches
    std::int32_t* first_of;              // (mode) the first mode that has its energies

    static std::size_t bytes(const FormView& form, const ImageView& image) {
        const std::size_t n = static_cast<std::size_t>(form.n);
        const std::size_t rows = static_cast<std::size_t>(image.rows.n_groups * image.rows.n_rows);
        return 2 * n * n * sizeof(M) +
               sizeof(R) *
                   (2 * rows * n + n * static_cast<std::size_t>(image.n_values) +
                    2 * static_cast<std::size_t>(image.n_values) + 2 * static_cast<std::size_t>(image.rows.n_groups)) +
               sizeof(double) * static_cast<std::size_t>(image.n_values) +
               sizeof(std::int32_t) * n * (2 * static_cast<std::size_t>(image.n_block) + 1);
    }

    Points(const FormView& form, const ImageView& image, void* memory) {
        const std::ptrdiff_t n = form.n;
        x = static_cast<M*>(memory);
        p = x + n * n;
        rows = reinterpret_cast<R*>(p + n * n);
        weights = rows + 2 * image.rows.n_groups * image.rows.n_rows * n;
        plus = weights + n * image.n_values;
        minus = plus + image.n_values;
        turns = minus + image.n_values;
        nowhere = reinterpret_cast<double*>(turns + 2 * image.rows.n_groups);
        first_bin = reinterpret_cast<std::int32_t*>(nowhere + image.n_values);
        last_bin = first_bin + n * image.n_block;
        first_of = last_bin + n * image.n_block;
    }
};

// 1 / (1 - exp(-E / kB T)), neutron energy loss. A mode much closer to zero than the resolution, whose factor would
// diverge while its grid point stands for a finite piece of Q, has the factor of a tenth of the width.
template <class R>
INSDL_INLINE R bose_factor(const R& energy, const R& sigma, double temperature) {
    double e[R::kWidth];
    max(energy, R(0.1) * sigma).store(e);
    for (int lane = 0; lane < R::kWidth; ++lane)
        e[lane] = -1.0 / __builtin_expm1(-e[lane] / (kBoltzmann * temperature));
    return R::load(e);
}

// Modes of equal energy, as those of an antiferromagnet, are seen in the same bins and at the same Q: what follows from
// the energy is worked out for the first of them only. Equal is what differs by less than the solver's rounding.
template <class R, class M>
INSDL_INLINE void find_equal_energies(int n, const R* energy, Points<R, M>& work) {
    for (int m = 0; m < n; ++m) {
        const int before = m ? work.first_of[m - 1] : 0;
        const bool differ = any(~(abs(energy[m] - energy[before]) <= R(1e-13) * abs(energy[before])));
        work.first_of[m] = differ ? m : before;
    }
}

// How the weight of a bin changes with the place of the bin, once and twice: differences of the Gaussian and of its
// slope between the edges. half: factor / width of the bin. reached: lanes that reach it.
template <class R, class Mask>
INSDL_INLINE void bin_derivatives(const R& e, double low, double high, const R& inverse, const R& half,
                                  const Mask& reached, R& first, R& second) {
    const R scale = R(1.12837916709551257390) * half * inverse;  // 2 / sqrt(pi)
    const R at_low = (R(low) - e) * inverse, at_high = (R(high) - e) * inverse;
    const R below = exponential(max(-(at_low * at_low), R(-600.0))),
            above = exponential(max(-(at_high * at_high), R(-600.0)));
    first = select(reached, scale * (above - below), R(0.0));
    second = select(reached, R(-2.0) * scale * inverse * (at_high * above - at_low * below), R(0.0));
}

// Weight per meV of every mode in every bin: the Gaussian of the block's resolution at the mode's energy, integrated.
template <class R, class M>
INSDL_INLINE void bin_weights(const ImageView& image, const ImageSettings& settings, int n, const R* energy,
                              Points<R, M>& work) {
    for (int m = 0; m < n; ++m) {
        if (work.first_of[m] != m) continue;
        const R e = energy[m];
        for (std::ptrdiff_t b = 0; b < image.n_block; ++b) {
            const insdl::ImageBlock& block = image.blocks[b];
            const R table = R(settings.width_factor) *
                            (R(block.sigma_energy[0]) + e * (R(block.sigma_energy[1]) + e * R(block.sigma_energy[2])));
            const R growing = R(settings.broadening) * e;
            const R own(settings.intrinsic_sigma);
            const R sigma = max(sqrt(table * table + growing * growing + own * own), R(1e-6));
            const R reach = R(kReach) * sigma, inverse = R(0.70710678118654752440) / sigma;
            auto seen = e == e;
            if (!__builtin_isnan(block.fixed_l)) {
            } else {
                seen = e < R(block.incident_energy);
            }
            R factor(0.5);
            if (image.kf_over_ki) factor = factor * sqrt(max(R(1.0) - e * R(1.0 / block.incident_energy), R(0.0)));
            if (settings.temperature > 0.0) factor = factor * bose_factor(e, sigma, settings.temperature);
            const bool coupled = block.energy_slope != 0.0;
            const std::ptrdiff_t derivatives = coupled ? image.first_derivative[b] - block.first_bin : 0;
            std::int32_t first = -1, last = -1;
            double edge = 0.0;
            R below(0.0);
            for (std::int32_t k = block.first_bin; k < block.first_bin + block.n_bins; ++k) {
                const double low = image.bins[2 * k], high = image.bins[2 * k + 1];
                const auto reached = (e + reach > R(low)) & (e - reach < R(high)) & seen;
                R* const weight = work.weights + m * image.n_values + k;
                R* const derivative = weight + derivatives;
                if (!any(reached)) {
                    if (first >= 0) {
                        *weight = R(0.0);
                        if (coupled) derivative[0] = derivative[block.n_bins] = R(0.0);
                    }
                    continue;
                }
                if (first < 0 || edge != low || last != k) below = error_function((R(low) - e) * inverse);
                const R above = error_function((R(high) - e) * inverse);
                *weight = select(reached, (above - below) * factor * R(1.0 / (high - low)), R(0.0));
                if (coupled)
                    bin_derivatives(e, low, high, inverse, factor * R(1.0 / (high - low)), reached, derivative[0],
                                    derivative[block.n_bins]);
                if (first < 0) first = k;
                last = k + 1;
                edge = high;
                below = above;
            }
            work.first_bin[m * image.n_block + b] = first < 0 ? 0 : first;
            work.last_bin[m * image.n_block + b] = first < 0 ? 0 : last;
        }
    }
}

// from[cell] and from[cell + 1] for the cells in which places that are not negative lie, and the rest of the places.
INSDL_INLINE void look_up_cell(const double* from, Double place, Double& low, Double& high, Double& rest) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    const __m512i cell = _mm512_maskz_cvttpd_epi64(0xFF, (__m512d)place);
    low = (Double)_mm512_mask_i64gather_pd(_mm512_setzero_pd(), 0xFF, cell, from, 8);
    high = (Double)_mm512_mask_i64gather_pd(_mm512_setzero_pd(), 0xFF, cell, from + 1, 8);
    rest = place - (Double)_mm512_maskz_cvtepi64_pd(0xFF, cell);
#else
    for (int lane = 0; lane < kBytes / 8; ++lane) {
        const auto cell = static_cast<std::int32_t>(place[lane]);  // truncates
        low[lane] = from[cell];
        high[lane] = from[cell + 1];
        rest[lane] = place[lane] - static_cast<double>(cell);
    }
#endif
}

// Squared form factor at Q^2, linear between the entries of the table.
template <class R>
INSDL_INLINE R form_factor_at(const ImageView& image, const R& squared) {
    const R place = min(squared * R(image.form_factor_scale), R(static_cast<double>(image.n_form_factor - 2)));
    R low, high, rest;
    for (int u = 0; u < R::kWidth / R::kNative; ++u)
        look_up_cell(image.form_factor, place.v[u], low.v[u], high.v[u], rest.v[u]);
    return low + rest * (high - low);
}

// Adds to values the intensities of one mode, whose rows are `n` apart, without the form factor.
template <int kSides, int kRows, class R>
INSDL_INLINE void add_mode(const ImageView& image, const R* rows, int n, const R* turns,
                           const R (&along)[kSides][kMostShiftRows], const Projection<R>& projection, R* values) {
    const int n_rows = kRows ? kRows : image.rows.n_rows;
    R vr[kSides][kMostShiftRows], vi[kSides][kMostShiftRows];
    for (int r = 0; r < n_rows; ++r)
        for (int side = 0; side < kSides; ++side) {
            vr[side][r] = rows[2 * r * n];
            vi[side][r] = rows[(2 * r + 1) * n];
        }
    for (int layer = 1; layer < image.rows.n_groups; ++layer) {
        const R c = turns[2 * layer], s = turns[2 * layer + 1];
        for (int r = 0; r < n_rows; ++r) {
            const R* row = rows + 2 * (layer * n_rows + r) * n;
            const R x = row[0], y = row[n], xc = x * c, yc = y * c, xs = x * s, ys = y * s;
            vr[0][r] += xc + ys;  // exp(-i theta) at +q
            vi[0][r] += yc - xs;
            if constexpr (kSides == 2) {
                vr[1][r] += xc - ys;  // exp(+i theta) at -q, the whole conjugated
                vi[1][r] += yc + xs;
            }
        }
    }
    for (int side = 0; side < kSides; ++side)
        values[side] += perpendicular<kRows>(image.rows, side, vr[side], vi[side], along[side], projection);
}

// Intensities of the modes at +(q + G), kSides = 2: and at -(q + G), into the points' bins. kRows: the number of rows,
// so that they stay in registers, or 0 where it is known only at run time.
template <int kSides, int kRows, class R, class M>
INSDL_INLINE void spectra(const FormView& form, const ImageView& image, const R* in_plane, Points<R, M>& work) {
    const int n = form.n, n_rows = kRows ? kRows : image.rows.n_rows;
    const R zero(0.0);
    for (std::ptrdiff_t k = 0; k < image.n_values; ++k) {
        work.plus[k] = zero;
        if constexpr (kSides == 2) work.minus[k] = zero;
    }
    const R flat2 = in_plane[0] * in_plane[0] + in_plane[1] * in_plane[1] + in_plane[2] * in_plane[2];
    R flat[kMostShiftRows];
    double upright[kMostShiftRows];
    for (int r = 0; r < n_rows; ++r) {
        const double* d = image.rows.directions + 3 * r;
        flat[r] = in_plane[0] * R(d[0]) + in_plane[1] * R(d[1]) + in_plane[2] * R(d[2]);
        upright[r] = image.c_unit[0] * d[0] + image.c_unit[1] * d[1] + image.c_unit[2] * d[2];
    }
    for (std::ptrdiff_t b = 0; b < image.n_block; ++b) {
        const insdl::ImageBlock& block = image.blocks[b];
        const bool kinematic = __builtin_isnan(block.fixed_l);
        const double ki2 = block.incident_energy / kNeutronMass;
        const R ki(__builtin_sqrt(ki2));
        for (int m = 0; m < n; ++m) {
            const std::int32_t first = work.first_bin[m * image.n_block + b],
                               last = work.last_bin[m * image.n_block + b];
            if (work.first_of[m] != m || first == last) continue;
            R qz(kinematic ? 0.0 : block.fixed_l * image.c_star);
            auto reached = flat2 == flat2;
            if (kinematic) {
                const R along2 = R(ki2) - work.energy[m] * R(1.0 / kNeutronMass) - flat2;
                reached = along2 >= zero;
                qz = ki - sqrt(max(along2, zero));
            }
            const R squared = flat2 + qz * qz;
            const Projection<R> projection(squared);
            R along[kSides][kMostShiftRows];
            for (int r = 0; r < n_rows; ++r) {
                const R out_of_plane = R(upright[r]) * qz;
                along[0][r] = out_of_plane + flat[r];
                if constexpr (kSides == 2) along[1][r] = (out_of_plane - flat[r]) * R(image.rows.parity[r]);
            }
            for (int layer = 1; layer < image.rows.n_groups; ++layer)
                sin_cos_turns(qz * R(image.layer_turns[layer]), work.turns[2 * layer + 1], work.turns[2 * layer]);
            R value[kSides];
            for (int side = 0; side < kSides; ++side) value[side] = zero;
            for (int other = m; other < n && work.first_of[other] == m; ++other)
                add_mode<kSides, kRows>(image, work.rows + other, n, work.turns, along, projection, value);
            const R factor = select(reached, form_factor_at(image, squared), zero);
            for (int side = 0; side < kSides; ++side) value[side] *= factor;
            const R* weights = work.weights + m * image.n_values;
            for (std::int32_t k = first; k < last; ++k) {
                work.plus[k] += value[0] * weights[k];
                if constexpr (kSides == 2) work.minus[k] += value[1] * weights[k];
            }
            if (block.energy_slope == 0.0) continue;
            for (int order = 0; order < 2; ++order) {
                const std::ptrdiff_t away = image.first_derivative[b] + order * block.n_bins - block.first_bin;
                for (std::ptrdiff_t k = first + away; k < last + away; ++k) {
                    work.plus[k] += value[0] * weights[k];
                    if constexpr (kSides == 2) work.minus[k] += value[1] * weights[k];
                }
            }
        }
    }
}

// A point's bins from lanes to memory; lanes without a place write to `nowhere` (n_bins).
template <class R>
INSDL_INLINE void put_points(std::ptrdiff_t n_bins, const R* bins, const std::int32_t* place, std::ptrdiff_t used,
                             double* points, double* nowhere) {
    double* to[R::kWidth];
    for (std::ptrdiff_t lane = 0; lane < R::kWidth; ++lane)
        to[lane] =
            lane < used && place[lane] >= 0 ? points + static_cast<std::ptrdiff_t>(place[lane]) * n_bins : nowhere;
    constexpr int kSide = R::kNative;
    std::ptrdiff_t k = 0;
    for (; k + kSide <= n_bins; k += kSide)
        for (int u = 0; u < R::kWidth / kSide; ++u) {
            Double square[kSide];
            for (int b = 0; b < kSide; ++b) square[b] = bins[k + b].v[u];
            transpose(square);
            for (int lane = 0; lane < kSide; ++lane)
                __builtin_memcpy(to[u * kSide + lane] + k, square + lane, sizeof(Double));
        }
    for (; k < n_bins; ++k) {
        double values[R::kWidth];
        bins[k].store(values);
        for (std::ptrdiff_t lane = 0; lane < R::kWidth; ++lane) to[lane][k] = values[lane];
    }
}

template <class R, class M>
void points_of_form(const ImageTask& task) {
    constexpr int kWidth = R::kWidth;
    const FormView& form = *task.form;
    const ImageView& image = *task.image;
    const int n = form.n;
    char* memory = static_cast<char*>(task.workspace);
    Block<R, M> block(form, n, memory);
    Points<R, M> work(form, image, memory + Block<R, M>::bytes(form, n));
    work.energy = block.d;
    alignas(64) double q[3 * kWidth];
    for (std::ptrdiff_t begin = task.begin; begin < task.end; begin += kWidth) {
        const std::ptrdiff_t left = task.end - begin, used = left < kWidth ? left : kWidth;
        for (std::ptrdiff_t lane = 0; lane < kWidth; ++lane) {
            const double* from = image.solve_q + 2 * (begin + (lane < used ? lane : used - 1));
            q[lane] = from[0];
            q[kWidth + lane] = from[1];
            q[2 * kWidth + lane] = 0.0;
        }
        form_trigonometry(form, q, block.trig);
        assemble<0>(form, task.values, block.trig, block.v, block.t);
        solve_with_care(task, begin, used, block, work.x, work.p);
        find_equal_energies(n, block.d, work);
        bin_weights(image, *task.settings, n, block.d, work);
        for (std::ptrdiff_t g = 0; g < image.n_shift; ++g) {
            const std::int32_t *plus = image.plus + g * image.n_solve + begin,
                               *minus = image.minus + g * image.n_solve + begin;
            std::int32_t nowhere = -1;  // stays -1 where no lane has a place
            for (std::ptrdiff_t lane = 0; lane < used; ++lane) nowhere &= plus[lane] & minus[lane];
            if (nowhere == -1) continue;
            rows_at_shift(form, image.rows, g, work.x, work.p, work.rows);
            const R h = R::load(q) + R(image.shift[2 * g]), k = R::load(q + kWidth) + R(image.shift[2 * g + 1]);
            R in_plane[3];
            for (int a = 0; a < 3; ++a) in_plane[a] = h * R(image.in_plane[0][a]) + k * R(image.in_plane[1][a]);
            if (image.mirrored && image.rows.n_rows == 2) {  // one collinear structure
                spectra<1, 2>(form, image, in_plane, work);
            } else if (image.mirrored) {
                spectra<1, 0>(form, image, in_plane, work);
            } else {
                spectra<2, 0>(form, image, in_plane, work);
                put_points(image.n_values, work.minus, minus, used, task.points, work.nowhere);
            }
            put_points(image.n_values, work.plus, plus, used, task.points, work.nowhere);
        }
    }
}

template <class R>
void image_points(const ImageTask* task) {
    if (task->form->is_complex)
        points_of_form<R, ComplexLanes<R>>(*task);
    else
        points_of_form<R, R>(*task);
}

template <class R>
std::size_t image_workspace(const FormView* form, const ImageView* image) {
    if (form->is_complex)
        return Block<R, ComplexLanes<R>>::bytes(*form, form->n) + Points<R, ComplexLanes<R>>::bytes(*form, *image);
    return Block<R, R>::bytes(*form, form->n) + Points<R, R>::bytes(*form, *image);
}

}  // namespace insdl::INSDL_ISA
