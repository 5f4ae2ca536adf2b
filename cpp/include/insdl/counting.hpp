#pragma once

#include <cstddef>
#include <cstdint>

namespace insdl {

// Expected images and how they are counted; see CountingTask of cpp/src/counting_kernel.hpp for the pixels.
struct CountingInput {
    std::uint64_t key;           // of the stream of random numbers
    const std::uint64_t* index;  // (n_images) of each image in the stream
    std::ptrdiff_t n_images, n_bins, n_pixels;
    const float* mean;    // (n_images, n_bins, n_pixels)
    const float* scale;   // (n_images)
    const float* offset;  // (n_images, n_bins)
    const float* sigma;   // (n_images, n_bins), or null: Poisson counts
    float lowest, highest;
};

// counts: (n_images, n_bins, n_pixels), may be the means themselves. Fails where a mean count is not finite, or
// negative for Poisson counts. Bitwise the same for any number of threads and any instruction set.
void count_images(const CountingInput& input, int threads, float* counts);

// The words behind the pixels of a bin.
void random_words(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t count,
                  std::uint32_t* words);

}  // namespace insdl
