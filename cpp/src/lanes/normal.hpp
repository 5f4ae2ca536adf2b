#pragma once
// Normal numbers by the inverse of their distribution, from a table of polynomials that is held in registers.

#include "random.hpp"

namespace insdl::INSDL_ISA {

// kUnits vectors side by side hide the latency of each other's polynomials.
inline constexpr int kUnits = 4;
using One = Lanes<float, 1>;
using Many = Lanes<float, kUnits>;
using Reals = Native<float>::Vector;
using Whole = Native<float>::Mask;

// A polynomial, highest power first.
template <int kCount>
INSDL_INLINE Many polynomial(const float (&coefficients)[kCount], const Many& x) {
    Many sum(coefficients[0]);
    for (int k = 1; k < kCount; ++k) sum = sum * x + Many(coefficients[k]);
    return sum;
}

// For each of sixteen octaves of the tail's probability a polynomial in the mantissa less 1.5, highest power first. The
// column is the exponent's lowest four bits.
struct OctaveTable {
    float of[7][16];
};

// Chebyshev fits of the distance in standard deviations to SciPy's ndtri, with an error below 6e-7: tails from 2^-17
// to 1/2, and from 2^-33 to 2^-17.
// clang-format off
inline constexpr OctaveTable kNear{{
    {3.7271685e-03F, 3.844897e-03F, 3.9740023e-03F, 4.116366e-03F, 4.2743143e-03F, 4.4507566e-03F, 4.6493723e-03F, 4.874865e-03F, 5.1333155e-03F, 5.4326486e-03F, 5.7832273e-03F, 6.198508e-03F, 6.6945283e-03F, 6.967597e-03F, 3.5199644e-03F, 3.61928e-03F},
    {-6.5755825e-03F, -6.7870216e-03F, -7.0192665e-03F, -7.2758202e-03F, -7.56103e-03F, -7.880351e-03F, -8.2407035e-03F, -8.650971e-03F, -9.122663e-03F, -9.670805e-03F, -1.0315021e-02F, -1.108078e-02F, -1.2007609e-02F, -1.4107623e-02F, -6.2042177e-03F, -6.3820966e-03F},
    {1.0716792e-02F, 1.1071216e-02F, 1.1461519e-02F, 1.1893914e-02F, 1.2376154e-02F, 1.2918015e-02F, 1.3531972e-02F, 1.4234108e-02F, 1.5045342e-02F, 1.5992988e-02F, 1.7112432e-02F, 1.8446364e-02F, 1.998719e-02F, 1.8906986e-02F, 1.0096354e-02F, 1.0393213e-02F},
    {-2.1855304e-02F, -2.2601284e-02F, -2.3425266e-02F, -2.4341203e-02F, -2.5366606e-02F, -2.65237e-02F, -2.7840996e-02F, -2.935543e-02F, -3.1115174e-02F, -3.318335e-02F, -3.5644703e-02F, -3.8640447e-02F, -4.2768963e-02F, -5.7235252e-02F, -2.0554466e-02F, -2.1176083e-02F},
    {5.068243e-02F, 5.250197e-02F, 5.4522056e-02F, 5.6780513e-02F, 5.9325222e-02F, 6.221738e-02F, 6.553568e-02F, 6.938089e-02F, 7.3878005e-02F, 7.916378e-02F, 8.530636e-02F, 9.189725e-02F, 9.567681e-02F, 6.925981e-02F, 4.753009e-02F, 4.9033254e-02F},
    {-1.6096656e-01F, -1.6752633e-01F, -1.7492957e-01F, -1.8337011e-01F, -1.9310942e-01F, -2.0451008e-01F, -2.1809147e-01F, -2.346282e-01F, -2.5533462e-01F, -2.822418e-01F, -3.1905463e-01F, -3.7341762e-01F, -4.6441594e-01F, -6.592981e-01F, -1.4982282e-01F, -1.551033e-01F},
    {3.911953F, 3.7412524F, 3.5633078F, 3.3771458F, 3.1815596F, 2.9750206F, 2.7555487F, 2.520502F, 2.2662268F, 1.9874278F, 1.6759397F, 1.3180108F, 8.871465e-01F, 3.1863928e-01F, 4.2346754F, 4.0762067F},
}};
inline constexpr OctaveTable kFar{{
    {2.647213e-03F, 2.6895942e-03F, 2.7340406e-03F, 2.780723e-03F, 2.8298327e-03F, 2.881585e-03F, 2.9362217e-03F, 2.994017e-03F, 3.0552824e-03F, 3.1203735e-03F, 3.1896979e-03F, 3.2637261e-03F, 3.3430036e-03F, 3.428167e-03F, 2.5680463e-03F, 2.6067428e-03F},
    {-4.649979e-03F, -4.725113e-03F, -4.803942e-03F, -4.8867757e-03F, -4.97396e-03F, -5.0658844e-03F, -5.1629874e-03F, -5.265767e-03F, -5.3747892e-03F, -5.490701e-03F, -5.6142467e-03F, -5.7462845e-03F, -5.887813e-03F, -6.0399994e-03F, -4.509717e-03F, -4.5782635e-03F},
    {7.525939e-03F, 7.6493057e-03F, 7.77883e-03F, 7.915034e-03F, 8.058505e-03F, 8.209903e-03F, 8.369975e-03F, 8.539569e-03F, 8.719651e-03F, 8.911328e-03F, 9.1158785e-03F, 9.334778e-03F, 9.56975e-03F, 9.822814e-03F, 7.2958535e-03F, 7.4082618e-03F},
    {-1.5227634e-02F, -1.5481214e-02F, -1.5747655e-02F, -1.602807e-02F, -1.632371e-02F, -1.6635979e-02F, -1.6966475e-02F, -1.7317016e-02F, -1.7689673e-02F, -1.8086836e-02F, -1.8511258e-02F, -1.8966142e-02F, -1.945523e-02F, -1.998293e-02F, -1.47552e-02F, -1.4985926e-02F},
    {3.4866188e-02F, 3.5461098e-02F, 3.6086958e-02F, 3.6746513e-02F, 3.744286e-02F, 3.8179494e-02F, 3.896041e-02F, 3.9790142e-02F, 4.0673923e-02F, 4.1617773e-02F, 4.2628694e-02F, 4.3714847e-02F, 4.4885848e-02F, 4.615307e-02F, 3.3759702e-02F, 3.4299783e-02F},
    {-1.07304804e-01F, -1.0923633e-01F, -1.1127433e-01F, -1.1342886e-01F, -1.15711346e-01F, -1.1813485e-01F, -1.2071435e-01F, -1.2346716e-01F, -1.2641336e-01F, -1.2957643e-01F, -1.32984e-01F, -1.3666888e-01F, -1.406703e-01F, -1.4503565e-01F, -1.0372658e-01F, -1.0547084e-01F},
    {6.0558267F, 5.943267F, 5.8286448F, 5.7118435F, 5.592737F, 5.4711857F, 5.3470345F, 5.220113F, 5.090231F, 4.957175F, 4.820706F, 4.680553F, 4.536408F, 4.387918F, 6.2751727F, 6.1664295F},
}};  // clang-format on

// row[index modulo 16], lane by lane.
INSDL_INLINE Reals look_up(const float* row, const Whole& index) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Reals)_mm512_maskz_permutexvar_ps(0xFFFF, (__m512i)index, _mm512_loadu_ps(row));
#elif defined(__AVX2__)
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(row), (__m256i)index),
                 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(row + 8), (__m256i)index);
    return (Reals)_mm256_blendv_ps(low, high, (__m256)(index << 28));
#else
    Reals result;
    for (int lane = 0; lane < kLanes; ++lane) result[lane] = row[index[lane] & 15];
    return result;
#endif
}

INSDL_INLINE Many distance(const OctaveTable& table, const Many& tail) {
    Whole octave[kUnits];
    Many place, sum;
    for (int u = 0; u < kUnits; ++u) {
        const Whole bits = (Whole)tail.v[u];
        octave[u] = bits >> 23;
        place.v[u] = (Reals)((bits & 0x7FFFFF) | 0x3F800000) - 1.5F;
        sum.v[u] = look_up(table.of[0], octave[u]);
    }
    for (int k = 1; k < 7; ++k)  // one step of each before the next: they wait for their own last step
        for (int u = 0; u < kUnits; ++u) sum.v[u] = sum.v[u] * place.v[u] + look_up(table.of[k], octave[u]);
    return sum;
}

// Standard normal numbers from words: the highest bit is the sign, 31 bits the distance from the nearer tail, in units
// of 2^-32 and from the middle of a unit.
INSDL_INLINE Many normal(const Words* word) {
    Many tail;
    for (int u = 0; u < kUnits; ++u) tail.v[u] = __builtin_convertvector((Whole)(word[u] & 0x7FFFFFFFU), Reals) + 0.5F;
    tail = min(tail, Many(2147483520.0F));  // the largest below 2^31, where the octave would be the next one
    Many size = distance(kNear, tail);
    const auto far = tail < Many(32768.0F);
    if (any(far)) size = select(far, distance(kFar, tail), size);
    for (int u = 0; u < kUnits; ++u) size.v[u] = (Reals)((Words)size.v[u] ^ (word[u] & 0x80000000U));
    return size;
}

// Words as numbers from 0 to 1 - 1e-6, by their upper 24 bits: sums of probabilities in single precision get that far.
INSDL_INLINE Many uniform(const Words* word) {
    Many result;
    for (int u = 0; u < kUnits; ++u) result.v[u] = __builtin_convertvector((Whole)(word[u] >> 8), Reals);
    return (result + Many(0.5F)) * Many(0.999999F * 0x1p-24F);
}

}  // namespace insdl::INSDL_ISA
