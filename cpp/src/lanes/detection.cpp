// What detection does to every pixel, compiled once per instruction set like kernel.cpp, but without fused products:
// the same steps on every processor, so that a measurement is the same to the last bit.
#include "../detection_kernel.hpp"
#include "vector.hpp"

namespace insdl {
namespace INSDL_ISA {
namespace {

using Pack = Lanes<float, 2>;
using Reals = Native<float>::Vector;
using Whole = Native<float>::Mask;

void add_scaled(std::ptrdiff_t n, float factor, const float* __restrict from, float* __restrict to) {
    for (std::ptrdiff_t p = 0; p < n; ++p) to[p] += factor * from[p];
}

void expected(const ExpectedTask* given) {
    const ExpectedTask& task = *given;
    const std::ptrdiff_t n_k = task.n_k, pixels = task.n_h * n_k;
    for (std::ptrdiff_t b = 0; b < task.n_bins; ++b) {
        float* const out = task.out + b * pixels;
        for (std::ptrdiff_t h = 0; h < task.n_h; ++h) {
            const float* __restrict const from = task.image + b * pixels + (task.mirror_h ? task.n_h - 1 - h : h) * n_k;
            float* __restrict const row = out + h * n_k;
            if (task.mirror_k)
                for (std::ptrdiff_t k = 0; k < n_k; ++k) row[k] = task.scale * from[n_k - 1 - k];
            else
                for (std::ptrdiff_t k = 0; k < n_k; ++k) row[k] = task.scale * from[k];
        }
        for (std::ptrdiff_t t = 0; t < task.n_terms; ++t) {
            const float coefficient = task.coefficients[b * task.n_terms + t];
            if (coefficient != 0.0F) add_scaled(pixels, coefficient, task.terms + t * pixels, out);
        }
        for (std::ptrdiff_t s = 0; s < task.n_shapes; ++s)
            add_scaled(pixels, task.levels[s], task.shapes[s] + b * pixels, out);
    }
}

// In 64 lanes whatever the registers, and single precision for no more than 64 terms of a lane: the same on every
// processor.
double weighted_sum(std::ptrdiff_t n, const float* image, const float* weight) {
    constexpr std::ptrdiff_t kPart = 4096;
    using Wide = Lanes<float, 256 / kBytes>;
    double total = 0.0;
    std::ptrdiff_t p = 0;
    while (p + Wide::kWidth <= n) {
        Wide lanes(0.0F);
        const std::ptrdiff_t end = p + kPart < n ? p + kPart : n;
        for (; p + Wide::kWidth <= end; p += Wide::kWidth) lanes += Wide::load(image + p) * Wide::load(weight + p);
        float parts[Wide::kWidth];
        lanes.store(parts);
        for (const float part : parts) total += static_cast<double>(part);
    }
    for (; p < n; ++p) total += static_cast<double>(image[p] * weight[p]);
    return total;
}

// log(1 + z) of z >= 0 to 3e-7 of itself; what 1 + z rounds away is put back to first order. log(m) = 2 artanh((m - 1)
// / (m + 1)) for 0.707 <= m < 1.414.
template <class L>
INSDL_INLINE L log_one_plus(const L& z) {
    const L u = L(1.0F) + z;
    L power, m;
    for (int k = 0; k < L::kWidth / L::kNative; ++k) {
        const Whole bits = (Whole)u.v[k], octave = (bits - 0x3F3504F3) >> 23;  // from the root of 1/2 on
        power.v[k] = __builtin_convertvector(octave, Reals);
        m.v[k] = (Reals)(bits - (octave << 23));
    }
    const L s = (m - L(1.0F)) / (m + L(1.0F)), s2 = s * s;
    const L series = ((L(2.0F / 9.0F) * s2 + L(2.0F / 7.0F)) * s2 + L(2.0F / 5.0F)) * s2 + L(2.0F / 3.0F);
    const L lost = (z - (u - L(1.0F))) / u;
    return power * L(0.69314718F) + (s + s + s * s2 * series + lost);
}

// arsinh to 3e-7 of itself: log(1 + z) with z = y + y^2 / (1 + sqrt(1 + y^2)), which loses no digits of small y.
template <class L>
INSDL_INLINE L arsinh(const L& x) {
    const L y = abs(x), root = sqrt(L(1.0F) + y * y), large(1e6F);
    const L size = log_one_plus(select(y < large, y + y * y / (L(1.0F) + root), y + y - L(1.0F)));
    return select(x < L(0.0F), -size, size);
}

// sinh to 3e-7 of itself, of -20 to 20; what is beyond counts as 20. A series below 1; above, (e - 1 / e) / 2 with e =
// 2^n times the series of what is left of the exponent, at most ln 2 / 2.
template <class L>
INSDL_INLINE L hyperbolic_sine(const L& x) {
    const L y = min(abs(x), L(20.0F)), u = y * y, magic(12582912.0F);  // 1.5 * 2^23: adding it rounds to a whole number
    const L near =
        y + y * u * (L(1.0F / 6.0F) + u * (L(1.0F / 120.0F) + u * (L(1.0F / 5040.0F) + u * L(1.0F / 362880.0F))));
    const L counted = y * L(1.44269504F) + magic, whole = counted - magic;
    const L rest =
        (y - whole * L(0.693359375F)) + whole * L(2.12194440e-4F);  // ln 2 in two parts, the first of 9 digits
    L e(1.0F);
    for (int k = 7; k > 0; --k) e = L(1.0F) + rest * L(1.0F / static_cast<float>(k)) * e;
    for (int k = 0; k < L::kWidth / L::kNative; ++k) e.v[k] = (Reals)((Whole)e.v[k] + ((Whole)counted.v[k] << 23));
    const L size = select(y < L(1.0F), near, L(0.5F) * (e - L(1.0F) / e));
    return select(x < L(0.0F), -size, size);
}

// In 64 lanes whatever the registers, as `weighted_sum`: the same on every processor.
void quarter(const QuarterTask* given) {
    using Wide = Lanes<float, 256 / kBytes>;
    static_assert(Wide::kWidth == kQuarterLanes);
    const QuarterTask& task = *given;
    const std::ptrdiff_t half_h = task.n_h / 2, half_k = task.n_k / 2, n = half_h * half_k;
    const std::ptrdiff_t padded = (n + Wide::kWidth - 1) / Wide::kWidth * Wide::kWidth;
    float *const counts = task.scratch, *const masks = counts + 4 * padded, *const mean = masks + 4 * padded;
    for (int side = 0; side < 4; ++side) {
        const bool back_h = side & 2, back_k = side & 1;
        float* __restrict const to = counts + side * padded, * __restrict const there = masks + side * padded;
        for (std::ptrdiff_t h = 0; h < half_h; ++h) {
            const std::ptrdiff_t row = (back_h ? half_h - 1 - h : half_h + h) * task.n_k, first = h * half_k;
            const float* __restrict const value = task.values + row, * __restrict const mask = task.mask + row;
            if (back_k)
                for (std::ptrdiff_t k = 0; k < half_k; ++k) {
                    there[first + k] = mask[half_k - 1 - k];
                    to[first + k] = value[half_k - 1 - k] * mask[half_k - 1 - k];
                }
            else
                for (std::ptrdiff_t k = 0; k < half_k; ++k) {
                    there[first + k] = mask[half_k + k];
                    to[first + k] = value[half_k + k] * mask[half_k + k];
                }
        }
        for (std::ptrdiff_t p = n; p < padded; ++p) to[p] = there[p] = 0.0F;
    }
    Wide logarithms(0.0F), seen(0.0F);
    for (std::ptrdiff_t p = 0; p < padded; p += Wide::kWidth) {
        Wide total(0.0F), number(0.0F), away(0.0F);
        for (int side = 0; side < 4; ++side) {
            const Wide found = hyperbolic_sine(Wide::load(counts + side * padded + p));
            found.store(counts + side * padded + p);
            total += found, number += Wide::load(masks + side * padded + p);
        }
        const Wide shares = number * Wide(0.25F), weight = Wide(0.25F) / max(shares, Wide(0.25F));
        const Wide middle = total * weight;
        for (int side = 0; side < 4; ++side)
            away += abs(Wide::load(counts + side * padded + p) - middle) * Wide::load(masks + side * padded + p);
        middle.store(mean + p);
        shares.store(mean + padded + p);
        logarithms += log_one_plus(away * weight);
        seen += select(shares > Wide(0.0F), Wide(1.0F), Wide(0.0F));
    }
    float parts[2][Wide::kWidth];
    logarithms.store(parts[0]);
    seen.store(parts[1]);
    double sum = 0.0, pixels = 0.0;
    for (int lane = 0; lane < Wide::kWidth; ++lane)
        sum += static_cast<double>(parts[0][lane]), pixels += static_cast<double>(parts[1][lane]);
    const double noise = __builtin_expm1(sum / (pixels > 1.0 ? pixels : 1.0)),
                 scale = __builtin_sqrt(1.0 + noise * noise);
    *task.log_scale = static_cast<float>(__builtin_log(scale));
    const Wide inverse(static_cast<float>(1.0 / scale));
    for (std::ptrdiff_t p = 0; p < padded; p += Wide::kWidth) arsinh(Wide::load(mean + p) * inverse).store(mean + p);
    for (std::ptrdiff_t p = 0; p < n; ++p) task.mean[p] = mean[p], task.share[p] = mean[padded + p];
}

std::ptrdiff_t view(std::ptrdiff_t n, const float* counts, const std::uint8_t* seen, float* values, float* mask) {
    const Pack most(1.7e38F);
    float rest[2][Pack::kWidth];
    for (std::ptrdiff_t begin = 0; begin < n; begin += Pack::kWidth) {
        const std::ptrdiff_t left = n - begin, used = left < Pack::kWidth ? left : Pack::kWidth;
        const bool whole = used == Pack::kWidth;
        for (std::ptrdiff_t k = 0; k < used; ++k) mask[begin + k] = seen[begin + k] ? 1.0F : 0.0F;
        if (!whole)
            for (std::ptrdiff_t k = 0; k < Pack::kWidth; ++k) {
                rest[0][k] = k < used ? counts[begin + k] : 0.0F;
                rest[1][k] = k < used ? mask[begin + k] : 0.0F;
            }
        const Pack looked = Pack::load(whole ? mask + begin : rest[1]);
        const auto is_seen = looked > Pack(0.5F);
        const Pack x = select(is_seen, Pack::load(whole ? counts + begin : rest[0]), Pack(0.0F));
        if (any(~(abs(x) <= most))) {
            std::ptrdiff_t bad = begin;
            while (mask[bad] == 0.0F || (counts[bad] <= 1.7e38F && counts[bad] >= -1.7e38F)) ++bad;
            return bad;
        }
        const Pack found = arsinh(x);
        if (whole) {
            found.store(values + begin);
        } else {
            found.store(rest[0]);
            for (std::ptrdiff_t k = 0; k < used; ++k) values[begin + k] = rest[0][k];
        }
    }
    return -1;
}

// Exponent and mantissa moved into place, and the exponent counted from another zero. Subnormal ones are what is left
// of 2^-14 (1 + mantissa), without subnormal numbers on the way: those are slow.
void singles(std::ptrdiff_t n, const std::uint16_t* __restrict halves, float* __restrict singles) {
    for (std::ptrdiff_t p = 0; p < n; ++p) {
        const std::uint32_t bits = halves[p], size = bits & 0x7FFFU, moved = size << 13;
        const std::uint32_t normal = moved + (size >= 0x7C00U ? 0x70000000U : 0x38000000U);  // or not finite
        const std::uint32_t above = moved + 0x38800000U;
        float small;
        __builtin_memcpy(&small, &above, sizeof(small));
        small -= 0x1p-14F;
        std::uint32_t found;
        __builtin_memcpy(&found, &small, sizeof(found));
        found = (size < 0x400U ? found : normal) | ((bits & 0x8000U) << 16);
        __builtin_memcpy(singles + p, &found, sizeof(found));
    }
}

const DetectionKernel kDetection{&expected, &weighted_sum, &view, &singles, &quarter};

}  // namespace

const DetectionKernel* detection_kernel() { return &kDetection; }

}  // namespace INSDL_ISA
}  // namespace insdl
