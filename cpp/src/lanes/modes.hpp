#pragma once
// Blocks of q to energies, intensities and amplitudes in the caller's order.

#include "solve.hpp"

namespace insdl::INSDL_ISA {

inline constexpr int kMostRows = 12;  // three directions of x and of p, real and imaginary part

// q of a block, component by component; the last block repeats its last q.
template <int kWidth>
INSDL_INLINE void gather_q(const double* q, std::ptrdiff_t count, double* out) {
    if (count < kWidth) {
        for (int lane = 0; lane < kWidth; ++lane) {
            const double* from = q + 3 * (lane < count ? lane : count - 1);
            for (int a = 0; a < 3; ++a) out[a * kWidth + lane] = from[a];
        }
        return;
    }
    constexpr int kSide = kBytes / 8;
    for (int lane = 0; lane < kWidth; lane += kSide) {
        const double* from = q + 3 * lane;
        const Double v0 = load_double(from), v1 = load_double(from + kSide), v2 = load_double(from + 2 * kSide);
        const Double components[3] = {every_third<0>(v0, v1, v2, AllLanes{}), every_third<1>(v0, v1, v2, AllLanes{}),
                                      every_third<2>(v0, v1, v2, AllLanes{})};
        for (int a = 0; a < 3; ++a) __builtin_memcpy(out + a * kWidth + lane, components + a, sizeof(Double));
    }
}

// Cartesian components of Q in 1/angstrom.
template <class R>
INSDL_INLINE void cartesian(const double* reciprocal, const double* q, R* result) {
    using T = typename R::Scalar;
    T narrow[3][R::kWidth];
    for (int a = 0; a < 3; ++a)
        for (int lane = 0; lane < R::kWidth; ++lane)
            narrow[a][lane] = static_cast<T>(q[lane] * reciprocal[a] + q[R::kWidth + lane] * reciprocal[3 + a] +
                                             q[2 * R::kWidth + lane] * reciprocal[6 + a]);
    for (int a = 0; a < 3; ++a) result[a] = R::load(narrow[a]);
}

// One mode's Cartesian amplitude from its rows: real parts, then imaginary ones.
template <class R, class M>
INSDL_INLINE void amplitude_of(const FormView& form, const R* z, R* amplitude) {
    using T = typename R::Scalar;
    for (int a = 0; a < 6; ++a) amplitude[a] = R(T(0));
    for (int r = 0; r < form.n_rows; ++r)
        for (int a = 0; a < 3; ++a) {
            const R direction(static_cast<T>(form.row_directions[3 * r + a]));
            if constexpr (Element<M>::kComplex) {
                amplitude[a] += direction * z[2 * r];
                amplitude[3 + a] += direction * z[2 * r + 1];
            } else {
                amplitude[(form.row_parts[r] ? 3 : 0) + a] += direction * z[r];
            }
        }
}

// What turns rows into intensities at one Q: sum_ab (delta_ab - Q_a Q_b / Q^2) v_a conj(v_b), or 2/3 of the trace at Q
// = 0.
template <class R>
struct Polarisation {
    R along[kMostRows];  // Q.direction / |Q|
    R trace, projection;
};

template <class R>
INSDL_INLINE Polarisation<R> polarisation_at(const FormView& form, const R* q) {
    using T = typename R::Scalar;
    Polarisation<R> result;
    const R squared = q[0] * q[0] + q[1] * q[1] + q[2] * q[2];
    const auto away = squared > R(T(1e-16));
    result.trace = select(away, R(T(1)), R(T(2.0 / 3.0)));
    result.projection = select(away, R(T(1)), R(T(0))) / select(away, squared, R(T(1)));
    for (int r = 0; r < form.n_rows; ++r) {
        const double* d = form.row_directions + 3 * r;
        result.along[r] =
            q[0] * R(static_cast<T>(d[0])) + q[1] * R(static_cast<T>(d[1])) + q[2] * R(static_cast<T>(d[2]));
    }
    return result;
}

template <class R, class M>
INSDL_INLINE R intensity_of(const FormView& form, const Polarisation<R>& polarisation, const R* z) {
    using T = typename R::Scalar;
    constexpr bool kComplex = Element<M>::kComplex;
    R total(T(0)), re(T(0)), im(T(0));
    for (int r = 0; r < form.n_rows; ++r) {
        const R x = z[kComplex ? 2 * r : r];
        total += x * x;
        if constexpr (kComplex) {
            const R y = z[2 * r + 1];
            total += y * y;
            re += polarisation.along[r] * x;
            im += polarisation.along[r] * y;
        } else if (form.row_parts[r]) {
            im += polarisation.along[r] * x;
        } else {
            re += polarisation.along[r] * x;
        }
    }
    if (!form.orthogonal)
        for (int r = 0; r < form.n_rows; ++r)
            for (int o = 0; o < r; ++o) {
                if (!kComplex && form.row_parts[r] != form.row_parts[o]) continue;
                const double *d = form.row_directions + 3 * r, *f = form.row_directions + 3 * o;
                const R twice(static_cast<T>(2.0 * (d[0] * f[0] + d[1] * f[1] + d[2] * f[2])));
                if constexpr (kComplex)
                    total += twice * (z[2 * r] * z[2 * o] + z[2 * r + 1] * z[2 * o + 1]);
                else
                    total += twice * z[r] * z[o];
            }
    return max(polarisation.trace * total - polarisation.projection * (re * re + im * im), R(T(0)));
}

// factor * values[mode] (lanes of q) to memory, (q, mode).
template <class R>
INSDL_INLINE void put_modes(int modes, std::ptrdiff_t used, double factor, const R* values, double* to) {
    using T = typename R::Scalar;
    if constexpr (sizeof(T) == sizeof(double))
        if (modes == 2 && used == R::kWidth) {
            for (int u = 0; u < R::kWidth / R::kNative; ++u) {
                const Double a = values[0].v[u] * factor, b = values[1].v[u] * factor;
                const Double pairs[2] = {Interleave<Double>::low(a, b), Interleave<Double>::high(a, b)};
                __builtin_memcpy(to + 2 * u * R::kNative, pairs, sizeof(pairs));
            }
            return;
        }
    for (int m = 0; m < modes; ++m) {
        T numbers[R::kWidth];
        values[m].store(numbers);
        for (std::ptrdiff_t lane = 0; lane < used; ++lane)
            to[lane * modes + m] = static_cast<double>(numbers[lane]) * factor;
    }
}

template <int kN, class R, class M>
void modes_of_form(const ModesTask& task) {
    using T = typename R::Scalar;
    constexpr int kWidth = R::kWidth;
    const FormView& form = *task.form;
    const int n = kN > 0 ? kN : form.n, modes = form.split ? n : n / 2;
    const int n_real = (Element<M>::kComplex ? 2 : 1) * form.n_rows;
    Block<R, M> block(form, form.n_rows, task.workspace);
    R* const factors = task.factors ? block.phase + 2 * form.n_site_waves : nullptr;
    const double unit = task.values[form.n_values + 1];
    alignas(64) double q[3 * kWidth];
    for (std::ptrdiff_t begin = 0; begin < task.count; begin += kWidth) {
        const std::ptrdiff_t left = task.count - begin, used = left < kWidth ? left : kWidth;
        gather_q<kWidth>(task.q + 3 * begin, left, q);
        form_trigonometry(form, q, block.trig);
        if (form.n_site_waves > 1) trigonometry(form.n_site_waves, form.site_waves, q, block.phase);
        if (factors)
            for (int i = 0; i < form.n_sites; ++i) {
                T column[kWidth];
                for (int lane = 0; lane < kWidth; ++lane)
                    column[lane] =
                        static_cast<T>(task.factors[(begin + (lane < used ? lane : used - 1)) * form.n_sites + i]);
                factors[i] = R::load(column);
            }
        assemble<kN>(form, task.values, block.trig, block.v, block.t);
        set_rows(form, n, factors, block);
        typename R::Mask careful;
        if constexpr (Element<M>::kComplex)
            careful = form.split ? solve_split<kN>(form, block) : solve_full<kN>(form, block);
        else
            careful = solve_split<kN>(form, block);
        R cart[3];
        cartesian(form.reciprocal, q, cart);
        T flags[kWidth];
        select(careful, R(T(1)), R(T(0))).store(flags);
        for (int lane = 0; lane < used; ++lane) task.careful[begin + lane] = flags[lane] != T(0);
        if (task.amplitude) {
            if (form.split) sort_descending(n, block.d, n_real, block.z);
            for (int m = 0; m < modes; ++m) {
                R part[6];
                amplitude_of<R, M>(form, block.z + m * n_real, part);
                T lanes[6][kWidth];
                for (int a = 0; a < 6; ++a) part[a].store(lanes[a]);
                for (int lane = 0; lane < used; ++lane) {
                    double* to = task.amplitude + 6 * ((begin + lane) * modes + m);
                    for (int a = 0; a < 3; ++a) {
                        to[2 * a] = static_cast<double>(lanes[a][lane]);
                        to[2 * a + 1] = static_cast<double>(lanes[a + 3][lane]);
                    }
                }
            }
        }
        R* const intensity = block.u_as_real();
        const Polarisation<R> polarisation = polarisation_at(form, cart);
        for (int m = 0; m < modes; ++m) intensity[m] = intensity_of<R, M>(form, polarisation, block.z + m * n_real);
        if (form.split && !task.amplitude) sort_descending(n, block.d, 1, intensity);
        put_modes(modes, used, unit, block.d, task.energy + begin * modes);
        if (task.intensity) put_modes(modes, used, 1.0, intensity, task.intensity + begin * modes);
    }
}

// Sizes that get a solver of their own, loops unrolled by the compiler.
template <class R>
void modes(const ModesTask* task) {
    const FormView& form = *task->form;
    if (!form.is_complex) switch (form.n) {
            case 1:
                return modes_of_form<1, R, R>(*task);
            case 2:
                return modes_of_form<2, R, R>(*task);
            case 4:
                return modes_of_form<4, R, R>(*task);
            case 8:
                return modes_of_form<8, R, R>(*task);
            case 16:
                return modes_of_form<16, R, R>(*task);
            default:
                return modes_of_form<0, R, R>(*task);
        }
    switch (form.n) {
        case 2:
            return modes_of_form<2, R, ComplexLanes<R>>(*task);
        case 4:
            return modes_of_form<4, R, ComplexLanes<R>>(*task);
        default:
            return modes_of_form<0, R, ComplexLanes<R>>(*task);
    }
}

template <class R>
std::size_t workspace(const FormView* form) {
    return (form->is_complex ? Block<R, ComplexLanes<R>>::bytes(*form, form->n_rows)
                             : Block<R, R>::bytes(*form, form->n_rows)) +
           sizeof(R) * static_cast<std::size_t>(form->n_sites);
}

}  // namespace insdl::INSDL_ISA
