// Counting noise of many images, one a thread at a time.
#include "insdl/counting.hpp"

#include <mutex>
#include <string>

#include "dispatch.hpp"
#include "insdl/error.hpp"
#include "insdl/parallel.hpp"

namespace insdl {

void count_images(const CountingInput& input, int threads, float* counts) {
    const CountingKernel& kernel = counting_kernel();
    const std::ptrdiff_t size = input.n_bins * input.n_pixels;
    std::mutex guard;
    std::ptrdiff_t bad_image = -1, bad_pixel = -1;
    parallel_blocks(input.n_images, 1, threads, [&](std::ptrdiff_t image, std::ptrdiff_t, int) {
        const CountingTask task{input.key,
                                input.index[image],
                                input.n_bins,
                                input.n_pixels,
                                input.mean + image * size,
                                input.scale[image],
                                input.offset + image * input.n_bins,
                                input.sigma ? input.sigma + image * input.n_bins : nullptr,
                                input.lowest,
                                input.highest,
                                counts + image * size};
        const std::ptrdiff_t bad = kernel.count(&task);
        if (bad < 0) return;
        const std::lock_guard<std::mutex> lock(guard);
        if (bad_image >= 0 && bad_image < image) return;
        bad_image = image;
        bad_pixel = bad;
    });
    if (bad_image >= 0)
        fail("mean counts must be finite" + std::string(input.sigma ? "" : " and not negative") + "; image " +
             std::to_string(bad_image) + ", bin " + std::to_string(bad_pixel / input.n_pixels) + ", pixel " +
             std::to_string(bad_pixel % input.n_pixels) + " is not");
}

void random_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t count,
                  std::uint32_t* words) {
    counting_kernel().words(key, index, bin, count, words);
}

}  // namespace insdl
