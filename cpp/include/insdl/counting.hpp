#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace insdl {

// What scales and backgrounds mean. kAbsolute: counts are expected at scale * mean + background. kRelative: scale is
// the mean signal of an image's pixels, background the share of it in the counts of each bin.
enum class CountLevel { kAbsolute, kRelative };

// Expected images and how they are counted; see CountingTask of cpp/src/counting_kernel.hpp for the pixels.
struct CountingInput {
    std::uint64_t key;           // of the stream of random numbers
    const std::uint64_t* index;  // (n_images) of each image in the stream
    std::ptrdiff_t n_images, n_bins, n_pixels;
    CountLevel level;
    const float* scale;       // (n_images)
    const float* background;  // (n_images, n_bins)
    const float* sigma;       // (n_images, n_bins), or null: Poisson counts
    float lowest, highest;
};

// Which pixel cannot be counted, of the first such image; notes may come from any thread.
class Uncountable {
  public:
    void note(std::ptrdiff_t image, std::ptrdiff_t pixel);
    // Fails where something was noted.
    void check(const CountingInput& input) const;

  private:
    std::mutex guard_;
    std::ptrdiff_t image_ = -1, pixel_ = -1;
};

// mean, counts: (n_bins, n_pixels) of one image, which may be the same memory. mirrored_row: the pixels of a row where
// the image is its own mirror image in both directions, to the last bit, else 0; a matter of speed only. With rows of
// kQuarterRow pixels only those of larger h and k need a mean then.
void count_image(const CountingInput& input, std::ptrdiff_t image, const float* mean, float* counts,
                 std::ptrdiff_t mirrored_row, Uncountable& uncountable);

// mean, counts: (n_images, n_bins, n_pixels), may be the same memory. Fails where a mean count is not finite, or
// negative for Poisson counts. Bitwise the same for any number of threads and any instruction set.
void count_images(const CountingInput& input, int threads, const float* mean, float* counts);

// The words behind the pixels of a bin.
void random_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t count,
                  std::uint32_t* words);

}  // namespace insdl
