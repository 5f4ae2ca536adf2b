#pragma once
// sin, cos and erf on native vectors of doubles: plain polynomials, no tables, no library calls.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

// sin and cos of 2 pi t. The argument is brought to |x| <= pi/4 in turns, where the reduction is exact; Taylor series
// there to less than one unit in the last place.
template <int U>
INSDL_INLINE void sin_cos_turns(const Lanes<double, U>& t, Lanes<double, U>& sine, Lanes<double, U>& cosine) {
    using L = Lanes<double, U>;
    const L magic(6755399441055744.0);  // 1.5 * 2^52: adding it rounds to the nearest whole number
    const L whole = (t + magic) - magic;
    const L turn = t - whole;                           // -1/2 to 1/2
    const L quarter = (turn * L(4.0) + magic) - magic;  // -2 to 2
    const L x = (turn - quarter * L(0.25)) * L(6.283185307179586476925);
    const L u = x * x;
    L s(2.81145725434552076e-15);
    s = s * u - L(7.64716373181981648e-13);
    s = s * u + L(1.60590438368216146e-10);
    s = s * u - L(2.50521083854417188e-08);
    s = s * u + L(2.75573192239858907e-06);
    s = s * u - L(1.98412698412698413e-04);
    s = s * u + L(8.33333333333333333e-03);
    s = s * u - L(1.66666666666666667e-01);
    s = x + x * (u * s);
    L c(4.77947733238738530e-14);
    c = c * u - L(1.14707455977297247e-11);
    c = c * u + L(2.08767569878680990e-09);
    c = c * u - L(2.75573192239858907e-07);
    c = c * u + L(2.48015873015873016e-05);
    c = c * u - L(1.38888888888888889e-03);
    c = c * u + L(4.16666666666666667e-02);
    c = c * u - L(0.5);
    c = c * u + L(1.0);
    const L size = abs(quarter);
    const auto odd = size == L(1.0);
    const auto half = size == L(2.0);
    const auto back = quarter == L(-1.0);
    sine = select(odd, c, s);
    cosine = select(odd, -s, c);
    sine = select(half | back, -sine, sine);
    cosine = select(half | back, -cosine, cosine);
}

// erf(x) to 2e-11 for |x| < 4, and 1 or -1 beyond (off by 1.5e-8 at most), so that bins of a whole band add up to one. erf(x) / x as a polynomial of degree
// 20 in t = x^2 / 8 - 1, from its Chebyshev series, highest power first.
template <class R>
INSDL_INLINE R error_function(const R& x) {
    using T = typename R::Scalar;
    constexpr double kCoefficients[21] = {1.3255546844523246e-05, -3.671410508718498e-05, 3.107427812349442e-05,
                                          -7.231681852765931e-05, 0.0002991812059642543,  -0.0006730866115570286,
                                          0.0012723239737666588,  -0.0025303564437726737, 0.004864627658389839,
                                          -0.008630037816590636,  0.01434573696910443,    -0.02246618339595679,
                                          0.03306146916154852,    -0.04576648195647567,   0.05988679954156284,
                                          -0.07472772607035477,   0.09020900091680514,    -0.10771044904002239,
                                          0.13167511672362822,    -0.17657623321207297,   0.3535309956441154};
    const R bounded = max(min(x, R(T(4))), R(T(-4)));
    const R t = bounded * bounded * R(T(0.125)) - R(T(1));
    R sum(static_cast<T>(kCoefficients[0]));
    for (int k = 1; k < 21; ++k) sum = sum * t + R(static_cast<T>(kCoefficients[k]));
    return select(abs(bounded) == R(T(4)), bounded * R(T(0.25)), bounded * sum);
}

}  // namespace insdl::INSDL_ISA
