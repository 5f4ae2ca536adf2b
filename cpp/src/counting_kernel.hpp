#pragma once
// The private seam between the core and the counting noise, which is compiled once per instruction set: raw pointers
// and plain structs only.

#include <cstddef>
#include <cstdint>

namespace insdl {

// Pixels of a row of images with mirrors whose sums are known from a quarter of them.
inline constexpr std::ptrdiff_t kQuarterRow = 64;

// Counts of one image. The random number of a pixel is a function of (key, index, bin, pixel)
// alone.
struct CountingTask {
    std::uint64_t key, index;
    std::ptrdiff_t n_bins, n_pixels;
    const float* mean;      // (n_bins, n_pixels)
    float scale;            // the mean count is scale * mean + offset[bin]
    const float* offset;    // (n_bins)
    const float* sigma;     // (n_bins) noise where there is no signal, or null: Poisson counts
    float lowest, highest;  // limits of what is written
    float* counts;          // (n_bins, n_pixels)
    // Pixels of a row where an image is its own mirror image in both directions, to the last bit of `mean`; else 0.
    // Then only the quarter of larger h and k is read.
    std::ptrdiff_t mirrored_row;
};

struct CountingKernel {
    // The first pixel whose mean is not a number that can be counted, or -1.
    std::ptrdiff_t (*count)(const CountingTask*);
    // sums: (n_bins) of the pixels of each bin. quarter: of an image with rows of kQuarterRow that is its own mirror
    // image only the pixels of larger h and k are there; the sums are those of the whole image, to the last bit.
    void (*sums)(std::ptrdiff_t n_bins, std::ptrdiff_t n_pixels, const float* mean, bool quarter, double* sums);
    // Words of the generator, for the tests.
    void (*words)(std::uint64_t key, std::uint64_t index, std::ptrdiff_t bin, std::ptrdiff_t count,
                  std::uint32_t* words);
};

namespace baseline {
const CountingKernel* counting_kernel();
}
namespace avx2 {
const CountingKernel* counting_kernel();
}
namespace avx512 {
const CountingKernel* counting_kernel();
}

}  // namespace insdl
