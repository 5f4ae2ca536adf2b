// What detection does to every pixel, in the instruction set in use.
#include "insdl/detection.hpp"

#include "dispatch.hpp"
#include "insdl/parallel.hpp"

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

void fold_quarters(const QuarterInput& input, int threads, float* mean, float* share, float* log_scale) {
    const std::ptrdiff_t cells = input.n_cells, pixels = input.n_h * input.n_k, quarter = pixels / 4;
    const std::ptrdiff_t padded = (quarter + kQuarterLanes - 1) / kQuarterLanes * kQuarterLanes;
    parallel_blocks(input.n_images, 1, threads, [&](std::ptrdiff_t image, std::ptrdiff_t, int) {
        std::vector<float> scratch(static_cast<std::size_t>(kQuarterScratch * padded));
        const float* const from = input.images + image * 2 * cells * pixels;
        for (std::ptrdiff_t cell = 0; cell < cells; ++cell) {
            const std::ptrdiff_t number = image * cells + cell;
            const QuarterTask task{input.n_h,
                                   input.n_k,
                                   from + cell * pixels,
                                   from + (cells + cell) * pixels,
                                   scratch.data(),
                                   mean + number * quarter,
                                   share + number * quarter,
                                   log_scale + number};
            detection_kernel().quarter(&task);
        }
    });
}

void half_to_single(std::ptrdiff_t n, const std::uint16_t* halves, float* singles) {
    detection_kernel().singles(n, halves, singles);
}

}  // namespace insdl
