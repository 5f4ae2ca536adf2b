#pragma once
// Random numbers by counter, one pixel a lane: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11,
// doi:10.1145/2063384.2063405) and the normal distribution by its inverse.

#include "vector.hpp"

namespace insdl::INSDL_ISA {

typedef std::uint32_t Words __attribute__((vector_size(kBytes)));
typedef std::uint64_t Pairs __attribute__((vector_size(kBytes)));
using Reals = Native<float>::Vector;
inline constexpr int kLanes = kBytes / 4;
inline constexpr int kGroup = 128;  // pixels whose words are made together, from 32 counters of 4 words

// Products of the even lanes with m, 64 bits each.
INSDL_INLINE Pairs even_products(Pairs a, std::uint32_t m) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Pairs)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
    return (Pairs)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#elif defined(__SSE2__)
    return (Pairs)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#else
    return (a & 0xFFFFFFFFU) * static_cast<std::uint64_t>(m);
#endif
}

INSDL_INLINE void multiply(Words a, std::uint32_t m, Words& high, Words& low) {
    const Pairs even = even_products((Pairs)a, m), odd = even_products((Pairs)a >> 32, m);
    low = (Words)((even & 0xFFFFFFFFU) | (odd << 32));
    high = (Words)((even >> 32) | (odd & ~Pairs{} << 32));
}

// Four words for each counter (c0, 0, index); kStreams vectors of counters side by side, for the latency of products.
inline constexpr int kStreams = 2;

INSDL_INLINE void philox(const Words* c0, std::uint64_t index, std::uint64_t key, Words (*words)[4]) {
    Words a[kStreams], b[kStreams], c[kStreams], d[kStreams];
    for (int s = 0; s < kStreams; ++s) {
        a[s] = c0[s];
        b[s] = Words{};
        c[s] = Words{} + static_cast<std::uint32_t>(index);
        d[s] = Words{} + static_cast<std::uint32_t>(index >> 32);
    }
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
        for (int s = 0; s < kStreams; ++s) {
            Words high0, low0, high1, low1;
            multiply(a[s], 0xD2511F53U, high0, low0);
            multiply(c[s], 0xCD9E8D57U, high1, low1);
            a[s] = high1 ^ b[s] ^ k0;
            c[s] = high0 ^ d[s] ^ k1;
            b[s] = low1;
            d[s] = low0;
        }
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    for (int s = 0; s < kStreams; ++s) words[s][0] = a[s], words[s][1] = b[s], words[s][2] = c[s], words[s][3] = d[s];
}

// The words of kGroup pixels from a multiple of kGroup on: pixel 64 g + 16 w + l has word w of counter 16 g + l.
INSDL_INLINE void group_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t group, std::uint32_t* words) {
    constexpr int kCounters = kGroup / 4;
    Words lanes;
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = static_cast<std::uint32_t>(lane);
    for (int part = 0; part < kCounters; part += kStreams * kLanes) {
        Words counter[kStreams], four[kStreams][4];
        for (int s = 0; s < kStreams; ++s)
            counter[s] = lanes + static_cast<std::uint32_t>(kCounters * group + part + s * kLanes);
        philox(counter, index, key, four);
        for (int s = 0; s < kStreams; ++s)
            for (int w = 0; w < 4; ++w) {
                const int own = part + s * kLanes;  // counter within the group of groups
                __builtin_memcpy(words + 64 * (own / 16) + 16 * w + own % 16, four[s] + w, sizeof(Words));
            }
    }
}

// kUnits vectors side by side hide the latency of each other's polynomials.
inline constexpr int kUnits = 4;
using Many = Lanes<float, kUnits>;
using Whole = Native<float>::Mask;

// A polynomial, highest power first.
template <int kCount>
INSDL_INLINE Many polynomial(const float (&coefficients)[kCount], const Many& x) {
    Many sum(coefficients[0]);
    for (int k = 1; k < kCount; ++k) sum = sum * x + Many(coefficients[k]);
    return sum;
}

inline constexpr float kLogarithm[] = {-0.08101549F, 0.12712302F, -0.1297224F,  0.14202175F,
                                       -0.16642248F, 0.20001469F, -0.25000297F, 0.33333329F};
inline constexpr float kExponential[] = {1.0F / 720.0F, 1.0F / 120.0F, 1.0F / 24.0F, 1.0F / 6.0F, 0.5F, 1.0F, 1.0F};
inline constexpr float kNear[] = {2.81022636e-08F, 3.43273939e-07F, -3.5233877e-06F, -4.39150654e-06F, 0.00021858087F,
                                  -0.00125372503F, -0.00417768164F, 0.246640727F,    1.50140941F};
inline constexpr float kFar[] = {-0.000200214257F, 0.000100950558F, 0.00134934322F, -0.00367342844F, 0.00573950773F,
                                 -0.0076224613F,   0.00943887047F,  1.00167406F,    2.83297682F};

// Natural logarithm of positive numbers, to 2e-7: log1p(y) = y - y^2/2 + y^3 Q(y) between sqrt(1/2) and sqrt(2), Q a
// Chebyshev fit.
INSDL_INLINE Many logarithm(const Many& x) {
    Many y, exponents;
    for (int u = 0; u < kUnits; ++u) {
        const Whole bits = (Whole)x.v[u];
        const Whole exponent = (bits - 0x3F3504F3) >> 23;  // of sqrt(1/2) and above
        y.v[u] = (Reals)(bits - (exponent << 23)) - 1.0F;
        exponents.v[u] = __builtin_convertvector(exponent, Reals);
    }
    const Many q = polynomial(kLogarithm, y);
    const Many square = y * y;
    return exponents * Many(0.69314718F) + (y - square * Many(0.5F) + square * y * q);
}

// e^x for -80 < x <= 0, to 2e-7: a power of two and a polynomial.
INSDL_INLINE Many exponential(const Many& x) {
    const Many magic = x * Many(1.44269504F) + Many(12582912.0F);  // rounds to the nearest whole number
    const Many n = magic - Many(12582912.0F);
    const Many r = (x - n * Many(0.693359375F)) + n * Many(2.12194440e-4F);
    Many p = polynomial(kExponential, r);
    for (int u = 0; u < kUnits; ++u) p.v[u] = (Reals)((Whole)p.v[u] + (((Whole)magic.v[u] - 0x4B400000) << 23));
    return p;
}

// Words as numbers from 0 to 1, by their upper 24 bits.
INSDL_INLINE Many uniform(const Words* word) {
    Many u;
    for (int k = 0; k < kUnits; ++k) u.v[k] = __builtin_convertvector((Whole)(word[k] >> 8), Reals);
    return (u + Many(0.5F)) * Many(0x1p-24F);
}

// Standard normal numbers from words: the highest bit is the sign, 31 bits the distance from the nearer tail. Inverse
// error function after M. Giles, "Approximating the erfinv function", GPU Computing Gems 2 (2011), single precision.
INSDL_INLINE Many normal(const Words* word) {
    Many tail;  // 0 to 1/2
    for (int k = 0; k < kUnits; ++k) tail.v[k] = __builtin_convertvector((Whole)(word[k] & 0x7FFFFFFFU), Reals);
    tail = (tail + Many(0.5F)) * Many(0x1p-32F);
    const Many x = Many(1.0F) - Many(2.0F) * tail;
    const Many w = -logarithm(Many(4.0F) * tail * (Many(1.0F) - tail));
    Many p = polynomial(kNear, w - Many(2.5F));
    const auto far = w >= Many(5.0F);
    if (any(far)) {
        const Many v = sqrt(select(far, w, Many(9.0F))) - Many(3.0F);
        p = select(far, polynomial(kFar, v), p);
    }
    Many size = Many(1.41421356F) * p * x;
    for (int k = 0; k < kUnits; ++k) size.v[k] = (Reals)((Words)size.v[k] ^ (word[k] & 0x80000000U));
    return size;
}

}  // namespace insdl::INSDL_ISA
