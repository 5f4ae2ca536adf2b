#pragma once
// One q per lane: a pack of native vectors with the arithmetic that the solvers need. Everything here is compiled once
// per instruction set inside a namespace of that name (see kernel.cpp): no std containers, nothing that another copy
// could replace at link time.

#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

#define INSDL_INLINE inline __attribute__((always_inline))

namespace insdl::INSDL_ISA {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
inline constexpr int kBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kBytes = 32;
#else
inline constexpr int kBytes = 16;
#endif

template <class T>
struct Native;
template <>
struct Native<double> {
    typedef double Vector __attribute__((vector_size(kBytes)));
    typedef std::int64_t Mask __attribute__((vector_size(kBytes)));
};
template <>
struct Native<float> {
    typedef float Vector __attribute__((vector_size(kBytes)));
    typedef std::int32_t Mask __attribute__((vector_size(kBytes)));
};

using Double = Native<double>::Vector;
using Float = Native<float>::Vector;

INSDL_INLINE Double square_root(Double a) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Double)_mm512_maskz_sqrt_pd(0xFF, (__m512d)a);
#elif defined(__AVX2__)
    return (Double)_mm256_sqrt_pd((__m256d)a);
#elif defined(__SSE2__)
    return (Double)_mm_sqrt_pd((__m128d)a);
#else
    for (int k = 0; k < kBytes / 8; ++k) a[k] = __builtin_sqrt(a[k]);
    return a;
#endif
}

INSDL_INLINE Float square_root(Float a) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Float)_mm512_maskz_sqrt_ps(0xFFFF, (__m512)a);
#elif defined(__AVX2__)
    return (Float)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
    return (Float)_mm_sqrt_ps((__m128)a);
#else
    for (int k = 0; k < kBytes / 4; ++k) a[k] = __builtin_sqrtf(a[k]);
    return a;
#endif
}

// 1 / sqrt(a) to about one unit in the last place: an estimate and Newton steps where the processor has a good
// estimate.
INSDL_INLINE Double inverse_root(Double a) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    Double y = (Double)_mm512_maskz_rsqrt14_pd(0xFF, (__m512d)a);
    const Double half = a * -0.5;
    y = y + y * (half * y * y + 0.5);
    y = y + y * (half * y * y + 0.5);
    return y;
#else
    return 1.0 / square_root(a);
#endif
}

INSDL_INLINE Float inverse_root(Float a) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    Float y = (Float)_mm512_maskz_rsqrt14_ps(0xFFFF, (__m512)a);
    return y + y * (a * -0.5F * y * y + 0.5F);
#else
    return 1.0F / square_root(a);
#endif
}

// a < b ? a : b and a < b ? b : a, which compilers do not see as one instruction.
INSDL_INLINE Double lesser(Double a, Double b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Double)_mm512_maskz_min_pd(0xFF, (__m512d)a, (__m512d)b);
#elif defined(__AVX2__)
    return (Double)_mm256_min_pd((__m256d)a, (__m256d)b);
#elif defined(__SSE2__)
    return (Double)_mm_min_pd((__m128d)a, (__m128d)b);
#else
    return a < b ? a : b;
#endif
}

INSDL_INLINE Float lesser(Float a, Float b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Float)_mm512_maskz_min_ps(0xFFFF, (__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (Float)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (Float)_mm_min_ps((__m128)a, (__m128)b);
#else
    return a < b ? a : b;
#endif
}

INSDL_INLINE Double greater(Double a, Double b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Double)_mm512_maskz_max_pd(0xFF, (__m512d)b, (__m512d)a);
#elif defined(__AVX2__)
    return (Double)_mm256_max_pd((__m256d)b, (__m256d)a);
#elif defined(__SSE2__)
    return (Double)_mm_max_pd((__m128d)b, (__m128d)a);
#else
    return a < b ? b : a;
#endif
}

INSDL_INLINE Float greater(Float a, Float b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return (Float)_mm512_maskz_max_ps(0xFFFF, (__m512)b, (__m512)a);
#elif defined(__AVX2__)
    return (Float)_mm256_max_ps((__m256)b, (__m256)a);
#elif defined(__SSE2__)
    return (Float)_mm_max_ps((__m128)b, (__m128)a);
#else
    return a < b ? b : a;
#endif
}

INSDL_INLINE bool any_set(Native<double>::Mask m) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return _mm512_movepi64_mask((__m512i)m) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_pd((__m256d)m) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_pd((__m128d)m) != 0;
#else
    std::int64_t all = 0;
    for (int k = 0; k < kBytes / 8; ++k) all |= m[k];
    return all != 0;
#endif
}

INSDL_INLINE bool any_set(Native<float>::Mask m) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return _mm512_movepi32_mask((__m512i)m) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)m) != 0;
#elif defined(__SSE2__)
    return _mm_movemask_ps((__m128)m) != 0;
#else
    std::int32_t all = 0;
    for (int k = 0; k < kBytes / 4; ++k) all |= m[k];
    return all != 0;
#endif
}

// Whether a < b in any lane: without a vector of masks where the processor has registers for them.
INSDL_INLINE bool any_less(Float a, Float b) {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OS) != 0;
#else
    return any_set(a < b);
#endif
}

// U native vectors side by side: two hide the latency of each other's square roots and divisions.
template <class T, int U>
struct Lanes {
    using Scalar = T;
    using Vector = typename Native<T>::Vector;
    using MaskVector = typename Native<T>::Mask;
    static constexpr int kNative = kBytes / static_cast<int>(sizeof(T));
    static constexpr int kWidth = U * kNative;

    struct Mask {
        MaskVector v[U];
        friend INSDL_INLINE Mask operator&(Mask a, const Mask& b) {
            for (int u = 0; u < U; ++u) a.v[u] &= b.v[u];
            return a;
        }
        friend INSDL_INLINE Mask operator|(Mask a, const Mask& b) {
            for (int u = 0; u < U; ++u) a.v[u] |= b.v[u];
            return a;
        }
        friend INSDL_INLINE Mask operator~(Mask a) {
            for (int u = 0; u < U; ++u) a.v[u] = ~a.v[u];
            return a;
        }
        friend INSDL_INLINE bool any(const Mask& a) {
            MaskVector all = a.v[0];
            for (int u = 1; u < U; ++u) all |= a.v[u];
            return any_set(all);
        }
    };

    Vector v[U];

    Lanes() = default;
    INSDL_INLINE Lanes(T a) {
        for (int u = 0; u < U; ++u) v[u] = a - Vector{};
    }

    friend INSDL_INLINE Lanes operator+(Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] += b.v[u];
        return a;
    }
    friend INSDL_INLINE Lanes operator-(Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] -= b.v[u];
        return a;
    }
    friend INSDL_INLINE Lanes operator*(Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] *= b.v[u];
        return a;
    }
    friend INSDL_INLINE Lanes operator/(Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] /= b.v[u];
        return a;
    }
    friend INSDL_INLINE Lanes operator-(Lanes a) {
        for (int u = 0; u < U; ++u) a.v[u] = -a.v[u];
        return a;
    }
    INSDL_INLINE Lanes& operator+=(const Lanes& b) { return *this = *this + b; }
    INSDL_INLINE Lanes& operator-=(const Lanes& b) { return *this = *this - b; }
    INSDL_INLINE Lanes& operator*=(const Lanes& b) { return *this = *this * b; }

    friend INSDL_INLINE Mask operator<(const Lanes& a, const Lanes& b) {
        Mask m;
        for (int u = 0; u < U; ++u) m.v[u] = a.v[u] < b.v[u];
        return m;
    }
    friend INSDL_INLINE Mask operator>(const Lanes& a, const Lanes& b) { return b < a; }
    friend INSDL_INLINE Mask operator<=(const Lanes& a, const Lanes& b) {
        Mask m;
        for (int u = 0; u < U; ++u) m.v[u] = a.v[u] <= b.v[u];
        return m;
    }
    friend INSDL_INLINE Mask operator>=(const Lanes& a, const Lanes& b) { return b <= a; }
    friend INSDL_INLINE Mask operator==(const Lanes& a, const Lanes& b) {
        Mask m;
        for (int u = 0; u < U; ++u) m.v[u] = a.v[u] == b.v[u];
        return m;
    }
    friend INSDL_INLINE Lanes select(const Mask& m, Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] = m.v[u] ? a.v[u] : b.v[u];
        return a;
    }
    friend INSDL_INLINE Lanes sqrt(Lanes a) {
        for (int u = 0; u < U; ++u) a.v[u] = square_root(a.v[u]);
        return a;
    }
    friend INSDL_INLINE Lanes inverse_sqrt(Lanes a) {
        for (int u = 0; u < U; ++u) a.v[u] = inverse_root(a.v[u]);
        return a;
    }
    friend INSDL_INLINE Lanes abs(const Lanes& a) { return select(a < Lanes(T(0)), -a, a); }
    // b where it is the greater or the lesser, else a, also where one is not a number.
    friend INSDL_INLINE Lanes max(Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] = greater(a.v[u], b.v[u]);
        return a;
    }
    friend INSDL_INLINE Lanes min(Lanes a, const Lanes& b) {
        for (int u = 0; u < U; ++u) a.v[u] = lesser(b.v[u], a.v[u]);
        return a;
    }

    static INSDL_INLINE Lanes load(const T* p) {
        Lanes a;
        __builtin_memcpy(&a, p, sizeof(a));
        return a;
    }
    INSDL_INLINE void store(T* p) const { __builtin_memcpy(p, this, sizeof(*this)); }
};

// {a0, b0, a1, b1, ...} from the lower halves of a and b, or from the upper ones.
template <class V>
struct Interleave;
template <>
struct Interleave<Double> {
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    static INSDL_INLINE Double low(Double a, Double b) {
        return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    }
    static INSDL_INLINE Double high(Double a, Double b) {
        return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    }
#elif defined(__AVX2__)
    static INSDL_INLINE Double low(Double a, Double b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
    static INSDL_INLINE Double high(Double a, Double b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
    static INSDL_INLINE Double low(Double a, Double b) { return __builtin_shufflevector(a, b, 0, 2); }
    static INSDL_INLINE Double high(Double a, Double b) { return __builtin_shufflevector(a, b, 1, 3); }
#endif
};

template <int... kPlaces>
struct Places {};

// Component kOf of three-component vectors that lie one after another in v0, v1, v2: every third number.
template <int kOf, int... kLane>
INSDL_INLINE Double every_third(Double v0, Double v1, Double v2, Places<kLane...>) {
    constexpr int kSide = kBytes / 8, kTwo = 2 * kSide;
    const Double most = __builtin_shufflevector(v0, v1, (3 * kLane + kOf < kTwo ? 3 * kLane + kOf : 0)...);
    return __builtin_shufflevector(most, v2, (3 * kLane + kOf < kTwo ? kLane : kSide + 3 * kLane + kOf - kTwo)...);
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
using AllLanes = Places<0, 1, 2, 3, 4, 5, 6, 7>;
#elif defined(__AVX2__)
using AllLanes = Places<0, 1, 2, 3>;
#else
using AllLanes = Places<0, 1>;
#endif

INSDL_INLINE Double load_double(const double* p) {
    Double a;
    __builtin_memcpy(&a, p, sizeof(a));
    return a;
}

// Transposes a square of native vectors by perfect shuffles: lane j of vector i becomes lane i of vector j.
INSDL_INLINE void transpose(Double* square) {
    constexpr int kSide = kBytes / 8;
    for (int stage = 1; stage < kSide; stage *= 2) {
        Double shuffled[kSide];
        for (int i = 0; i < kSide / 2; ++i) {
            shuffled[2 * i] = Interleave<Double>::low(square[i], square[i + kSide / 2]);
            shuffled[2 * i + 1] = Interleave<Double>::high(square[i], square[i + kSide / 2]);
        }
        for (int i = 0; i < kSide; ++i) square[i] = shuffled[i];
    }
}

// Complex lanes. A real matrix uses Lanes itself: the solvers are written once for both.
template <class L>
struct ComplexLanes {
    L re, im;
    ComplexLanes() = default;
    INSDL_INLINE ComplexLanes(const L& r, const L& i) : re(r), im(i) {}
    INSDL_INLINE ComplexLanes(const L& r) : re(r), im(typename L::Scalar(0)) {}
    INSDL_INLINE ComplexLanes(typename L::Scalar r) : re(r), im(typename L::Scalar(0)) {}
    friend INSDL_INLINE ComplexLanes operator+(const ComplexLanes& a, const ComplexLanes& b) {
        return {a.re + b.re, a.im + b.im};
    }
    friend INSDL_INLINE ComplexLanes operator-(const ComplexLanes& a, const ComplexLanes& b) {
        return {a.re - b.re, a.im - b.im};
    }
    friend INSDL_INLINE ComplexLanes operator-(const ComplexLanes& a) { return {-a.re, -a.im}; }
    friend INSDL_INLINE ComplexLanes operator*(const ComplexLanes& a, const L& b) { return {a.re * b, a.im * b}; }
};

// What the solvers need of a matrix element, real or complex.
template <class M>
struct Element;

template <class T, int U>
struct Element<Lanes<T, U>> {
    using Real = Lanes<T, U>;
    using M = Real;
    static constexpr bool kComplex = false;
    static INSDL_INLINE Real real(const M& a) { return a; }
    static INSDL_INLINE Real norm2(const M& a) { return a * a; }
    // c + a b, c + conj(a) b, c + a conj(b)
    static INSDL_INLINE M add(const M& c, const M& a, const M& b) { return c + a * b; }
    static INSDL_INLINE M add_conj_first(const M& c, const M& a, const M& b) { return c + a * b; }
    static INSDL_INLINE M add_conj_second(const M& c, const M& a, const M& b) { return c + a * b; }
    static INSDL_INLINE M subtract(const M& c, const M& a, const M& b) { return c - a * b; }
    static INSDL_INLINE M subtract_conj_second(const M& c, const M& a, const M& b) { return c - a * b; }
    static INSDL_INLINE M conj(const M& a) { return a; }
};

template <class T, int U>
struct Element<ComplexLanes<Lanes<T, U>>> {
    using Real = Lanes<T, U>;
    using M = ComplexLanes<Real>;
    static constexpr bool kComplex = true;
    static INSDL_INLINE Real real(const M& a) { return a.re; }
    static INSDL_INLINE Real norm2(const M& a) { return a.re * a.re + a.im * a.im; }
    static INSDL_INLINE M add(const M& c, const M& a, const M& b) {
        return {(c.re + a.re * b.re) - a.im * b.im, (c.im + a.re * b.im) + a.im * b.re};
    }
    static INSDL_INLINE M add_conj_first(const M& c, const M& a, const M& b) {
        return {(c.re + a.re * b.re) + a.im * b.im, (c.im + a.re * b.im) - a.im * b.re};
    }
    static INSDL_INLINE M add_conj_second(const M& c, const M& a, const M& b) {
        return {(c.re + a.re * b.re) + a.im * b.im, (c.im - a.re * b.im) + a.im * b.re};
    }
    static INSDL_INLINE M subtract(const M& c, const M& a, const M& b) {
        return {(c.re - a.re * b.re) + a.im * b.im, (c.im - a.re * b.im) - a.im * b.re};
    }
    static INSDL_INLINE M subtract_conj_second(const M& c, const M& a, const M& b) {
        return {(c.re - a.re * b.re) - a.im * b.im, (c.im + a.re * b.im) - a.im * b.re};
    }
    static INSDL_INLINE M conj(const M& a) { return {a.re, -a.im}; }
};

}  // namespace insdl::INSDL_ISA
