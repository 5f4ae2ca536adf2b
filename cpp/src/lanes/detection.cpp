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

// arsinh to 3e-7 of itself: log(1 + z) with z = y + y^2 / (1 + sqrt(1 + y^2)), which loses no digits of small y; what
// 1 + z rounds away is put back to first order. log(m) = 2 artanh((m - 1) / (m + 1)) for 0.707 <= m < 1.414.
INSDL_INLINE Pack arsinh(const Pack& x) {
    const Pack y = abs(x), root = sqrt(Pack(1.0F) + y * y), large(1e6F);
    const Pack z = select(y < large, y + y * y / (Pack(1.0F) + root), y + y - Pack(1.0F));
    const Pack u = Pack(1.0F) + z;
    Pack power, m;
    for (int k = 0; k < Pack::kWidth / Pack::kNative; ++k) {
        const Whole bits = (Whole)u.v[k], octave = (bits - 0x3F3504F3) >> 23;  // from the root of 1/2 on
        power.v[k] = __builtin_convertvector(octave, Reals);
        m.v[k] = (Reals)(bits - (octave << 23));
    }
    const Pack s = (m - Pack(1.0F)) / (m + Pack(1.0F)), s2 = s * s;
    const Pack series =
        ((Pack(2.0F / 9.0F) * s2 + Pack(2.0F / 7.0F)) * s2 + Pack(2.0F / 5.0F)) * s2 + Pack(2.0F / 3.0F);
    const Pack lost = (z - (u - Pack(1.0F))) / u;
    const Pack size = power * Pack(0.69314718F) + (s + s + s * s2 * series + lost);
    return select(x < Pack(0.0F), -size, size);
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

const DetectionKernel kDetection{&expected, &weighted_sum, &view, &singles};

}  // namespace

const DetectionKernel* detection_kernel() { return &kDetection; }

}  // namespace INSDL_ISA
}  // namespace insdl
