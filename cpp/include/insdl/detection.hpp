#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace insdl {

// An image and everything that is added to it; see ExpectedTask of cpp/src/detection_kernel.hpp for the sum.
struct ExpectedInput {
    std::ptrdiff_t n_bins, n_h, n_k, n_terms;
    const float* image;  // (n_bins, n_h, n_k)
    bool mirror_h, mirror_k;
    float scale;
    const float *terms, *coefficients;  // (n_terms, n_h, n_k) and (n_bins, n_terms)
    std::vector<const float*> shapes;   // each (n_bins, n_h, n_k)
    std::vector<float> levels;          // one a shape
};

// out: (n_bins, n_h, n_k), other memory than the image. This and the following are bitwise the same for any
// instruction set.
void expected_image(const ExpectedInput& input, float* out);

// Sum of image times weight, both of n numbers.
double weighted_sum(std::ptrdiff_t n, const float* image, const float* weight);

// values: arsinh(counts) where seen, else 0; mask: 1 where seen, else 0. The first pixel that is seen and not finite
// (then the rest is not written), or -1.
std::ptrdiff_t arsinh_view(std::ptrdiff_t n, const float* counts, const std::uint8_t* seen, float* values, float* mask);

// Images of cells, (n_images, 2 n_cells, n_h, n_k), arsinh(counts) and then masks as arsinh_view makes them, with n_h
// and n_k even. For each cell its four mirror images as one, and the scale of that; see QuarterTask of
// cpp/src/detection_kernel.hpp.
struct QuarterInput {
    std::ptrdiff_t n_images, n_cells, n_h, n_k;
    const float* images;
};

// mean, share: (n_images, n_cells, n_h / 2, n_k / 2). log_scale: (n_images, n_cells).
void fold_quarters(const QuarterInput& input, int threads, float* mean, float* share, float* log_scale);

// Numbers in half precision, given by their bits, in single precision.
void half_to_single(std::ptrdiff_t n, const std::uint16_t* halves, float* singles);

}  // namespace insdl
