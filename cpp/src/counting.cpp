// Counting noise of many images, one a thread at a time.
#include "insdl/counting.hpp"

#include <string>
#include <vector>

#include "dispatch.hpp"
#include "insdl/error.hpp"
#include "insdl/parallel.hpp"

namespace insdl {

void Uncountable::note(std::ptrdiff_t image, std::ptrdiff_t pixel) {
    const std::lock_guard<std::mutex> lock(guard_);
    if (image_ >= 0 && image_ < image) return;
    image_ = image;
    pixel_ = pixel;
}

void Uncountable::check(const CountingInput& input) const {
    if (image_ >= 0)
        fail("mean counts must be finite" + std::string(input.sigma ? "" : " and not negative") + "; image " +
             std::to_string(image_) + ", bin " + std::to_string(pixel_ / input.n_pixels) + ", pixel " +
             std::to_string(pixel_ % input.n_pixels) + " is not");
}

void count_image(const CountingInput& input, std::ptrdiff_t image, const float* mean, float* counts,
                 std::ptrdiff_t mirrored_row, Uncountable& uncountable) {
    const CountingKernel& kernel = counting_kernel();
    const float *background = input.background + image * input.n_bins, *offset = background;
    float scale = input.scale[image];
    std::vector<float> levels;
    if (input.level == CountLevel::kRelative) {
        std::vector<double> sums(static_cast<std::size_t>(input.n_bins));
        kernel.sums(input.n_bins, input.n_pixels, mean, mirrored_row == kQuarterRow, sums.data());
        double total = 0.0;
        for (const double sum : sums) total += sum;
        const auto pixels = static_cast<double>(input.n_pixels);
        const double factor = scale * pixels * static_cast<double>(input.n_bins) / total;
        for (std::ptrdiff_t b = 0; b < input.n_bins; ++b) {
            const double share = background[b];
            levels.push_back(
                static_cast<float>(factor * sums[static_cast<std::size_t>(b)] / pixels * share / (1.0 - share)));
        }
        scale = static_cast<float>(factor);
        offset = levels.data();
    }
    const CountingTask task{input.key,    input.index[image],
                            input.n_bins, input.n_pixels,
                            mean,         scale,
                            offset,       input.sigma ? input.sigma + image * input.n_bins : nullptr,
                            input.lowest, input.highest,
                            counts,       mirrored_row};
    const std::ptrdiff_t bad = kernel.count(&task);
    if (bad >= 0) uncountable.note(image, bad);
}

void count_images(const CountingInput& input, int threads, const float* mean, float* counts) {
    const std::ptrdiff_t size = input.n_bins * input.n_pixels;
    Uncountable uncountable;
    parallel_blocks(input.n_images, 1, threads, [&](std::ptrdiff_t image, std::ptrdiff_t, int) {
        count_image(input, image, mean + image * size, counts + image * size, 0, uncountable);
    });
    uncountable.check(input);
}

void random_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t count,
                  std::uint32_t* words) {
    counting_kernel().words(key, index, bin, count, words);
}

}  // namespace insdl
