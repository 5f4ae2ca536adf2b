// What detection does to every pixel, in the instruction set in use.
#include "insdl/detection.hpp"

#include "dispatch.hpp"

namespace insdl {

void expected_image(const ExpectedInput& input, float* out) {
    const ExpectedTask task{input.n_bins,
                            input.n_h,
                            input.n_k,
                            input.n_terms,
                            static_cast<std::ptrdiff_t>(input.shapes.size()),
                            input.image,
                            input.mirror_h,
                            input.mirror_k,
                            input.scale,
                            input.terms,
                            input.coefficients,
                            input.shapes.data(),
                            input.levels.data(),
                            out};
    detection_kernel().expected(&task);
}

double weighted_sum(std::ptrdiff_t n, const float* image, const float* weight) {
    return detection_kernel().weighted_sum(n, image, weight);
}

std::ptrdiff_t arsinh_view(std::ptrdiff_t n, const float* counts, const std::uint8_t* seen, float* values,
                           float* mask) {
    return detection_kernel().view(n, counts, seen, values, mask);
}

void half_to_single(std::ptrdiff_t n, const std::uint16_t* halves, float* singles) {
    detection_kernel().singles(n, halves, singles);
}

}  // namespace insdl
