#pragma once
// The private seam between the core and what detection does to every pixel, which is compiled once per instruction set:
// raw pointers and plain structs only.

#include <cstddef>
#include <cstdint>

namespace insdl {

// out[b, h, k] = scale image[b, h', k'] + sum_t coefficients[b, t] terms[t, h, k] + sum_s levels[s] shapes[s][b, h, k],
// where h' runs backwards if mirror_h, and k' if mirror_k.
struct ExpectedTask {
    std::ptrdiff_t n_bins, n_h, n_k, n_terms, n_shapes;
    const float* image;  // (n_bins, n_h, n_k)
    bool mirror_h, mirror_k;
    float scale;
    const float *terms, *coefficients;  // (n_terms, n_h, n_k) and (n_bins, n_terms)
    const float* const* shapes;         // (n_shapes) of (n_bins, n_h, n_k)
    const float* levels;                // (n_shapes)
    float* out;                         // (n_bins, n_h, n_k), other memory than the image
};

// The four quarters of a cell, (n_h, n_k), turned over so that Qh and Qk ascend from the middle, as one of n = n_h n_k
// / 4 pixels. Pixel p of quarter j has counts x_j = sinh(values) and is measured to the share m_j = mask; then
//     share = sum_j m_j / 4,    mean count c = sum_j m_j x_j / max(sum_j m_j, 1),
//     d = sum_j m_j |m_j x_j - c| / max(sum_j m_j, 1),    1 + D = exp(mean of log(1 + d) over pixels with a share),
// and mean = arsinh(c / s) with the scale s = sqrt(1 + D^2) of the cell.
struct QuarterTask {
    std::ptrdiff_t n_h, n_k;
    const float *values, *mask;  // (n_h, n_k)
    float* scratch;              // kQuarterScratch times n, rounded up to a multiple of kQuarterLanes
    float *mean, *share;         // (n_h / 2, n_k / 2)
    float* log_scale;            // one number
};
inline constexpr std::ptrdiff_t kQuarterScratch = 10, kQuarterLanes = 64;

struct DetectionKernel {
    void (*expected)(const ExpectedTask*);
    double (*weighted_sum)(std::ptrdiff_t n, const float* image, const float* weight);
    // values: arsinh(counts) where seen is not 0, else 0; mask: 1 or 0. The first seen pixel beyond 1.7e38, or -1.
    std::ptrdiff_t (*view)(std::ptrdiff_t n, const float* counts, const std::uint8_t* seen, float* values, float* mask);
    // IEEE half precision, given as its bits, in single precision.
    void (*singles)(std::ptrdiff_t n, const std::uint16_t* halves, float* singles);
    void (*quarter)(const QuarterTask*);
};

namespace baseline {
const DetectionKernel* detection_kernel();
}
namespace avx2 {
const DetectionKernel* detection_kernel();
}
namespace avx512 {
const DetectionKernel* detection_kernel();
}

}  // namespace insdl
