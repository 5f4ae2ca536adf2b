#pragma once
// sin, cos and erf on native vectors of doubles: plain polynomials, no tables, no library calls.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

// sin and cos of 2 pi t. The argument is brought to |x| <= pi/4 in turns, where the reduction is exact; there
// sin x = x + x u S(u) and cos x = 1 - u/2 + u^2 C(u) with u = x^2 and polynomials fitted to 2e-17.
template <int U>
INSDL_INLINE void sin_cos_turns(const Lanes<double, U>& t, Lanes<double, U>& sine, Lanes<double, U>& cosine) {
    using L = Lanes<double, U>;
    using Bits = typename Native<double>::Mask;
    const L magic(6755399441055744.0);         // 1.5 * 2^52: adding it rounds to the nearest whole number
    const L turn = t - ((t + magic) - magic);  // -1/2 to 1/2
    const L counted = turn * L(4.0) + magic;   // its lowest bits count quarters
    const L x = (turn - (counted - magic) * L(0.25)) * L(6.283185307179586476925);
    const L u = x * x;
    L s(1.591812929486638e-10), c(-1.1382632425521575e-11);
    s = s * u - L(2.505113184500362e-08), c = c * u + L(2.0876146268403195e-09);
    s = s * u + L(2.755731610255244e-06), c = c * u - L(2.7557317271729793e-07);
    s = s * u - L(0.00019841269836758574), c = c * u + L(2.480158729876569e-05);
    s = s * u + L(0.008333333333330948), c = c * u - L(0.0013888888888887398);
    s = s * u - L(0.16666666666666666), c = c * u + L(0.041666666666666664);
    s = x + (x * u) * s, c = (L(1.0) - u * L(0.5)) + (u * u) * c;
    for (int k = 0; k < U; ++k) {
        const Bits quarter = (Bits)counted.v[k];
        const Bits odd = (quarter & 1) != 0;
        const Bits sign_sine = (quarter >> 1) << 63, sign_cosine = ((quarter + 1) >> 1) << 63;
        const auto a = odd ? c.v[k] : s.v[k], b = odd ? s.v[k] : c.v[k];
        sine.v[k] = (decltype(a))((Bits)a ^ sign_sine);
        cosine.v[k] = (decltype(b))((Bits)b ^ sign_cosine);
    }
}

// exp(x) to 1e-14, for -700 < x < 700: 2^n times the series to the 11th power of what is left, at most ln 2 / 2.
template <int U>
INSDL_INLINE Lanes<double, U> exponential(const Lanes<double, U>& x) {
    using L = Lanes<double, U>;
    using Bits = typename Native<double>::Mask;
    const L magic(6755399441055744.0);  // as above
    const L counted = x * L(1.4426950408889634074) + magic;
    const L rest = x - (counted - magic) * L(0.69314718055994530942);
    L sum(1.0);
    for (int k = 11; k > 0; --k) sum = L(1.0) + rest * L(1.0 / k) * sum;
    for (int k = 0; k < U; ++k) sum.v[k] = (decltype(sum.v[k] + sum.v[k]))((Bits)sum.v[k] + ((Bits)counted.v[k] << 52));
    return sum;
}

// erf(x) to 2e-11 for |x| < 4, and 1 or -1 beyond (off by 1.5e-8 at most), so that bins of a whole band add up to one.
// erf(x) / x as a polynomial of degree 20 in t = x^2 / 8 - 1, from its Chebyshev series, highest power first.
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
