#pragma once
// The private seam between the core and the pixels of turned points, which are compiled once per instruction set: raw
// pointers and plain structs only.

#include "kernel.hpp"

namespace insdl {

// Weights of the points of a turned grid in pixels, for one angle. A row of points (fixed h index) is first gathered
// into pixels along k, then every pixel along k is spread over pixels along h. Where in its pixel along k a point lies
// moves it along h too: to first order, by a second number beside each weight. Ranges may be empty.
struct TurnedStencil {
    std::ptrdiff_t n_grid, n_pixel;
    std::ptrdiff_t reach_k, reach_h;        // room for a range
    std::ptrdiff_t sides;                   // ranges along h: 2 where a point stands for its mirror image too
    const std::int32_t *first_k, *count_k;  // (h, pixel k) range of points along k
    const double* weight_k;  // (h, pixel k, reach_k, 2) and the same times the distance from the pixel's middle
    const std::int32_t *first_pixel, *n_pixel_h;  // (h, pixel k, side) range of pixels along h
    const double* weight_h;                       // (h, pixel k, side, reach_h, 2) and its change with that distance
};

struct TurnedKernel {
    // Numbers of doubles that the sums of one block of bins need.
    std::size_t (*sums_size)(const PixelTask*);
    // Adds to sums, 64-byte aligned, what one angle brings.
    void (*gather)(const PixelTask*, const TurnedStencil*, double* sums);
    // The image from sums, as by image_pixels.
    void (*put)(const PixelTask*, const double* sums);
};

namespace baseline {
const TurnedKernel* turned_kernel();
}
namespace avx2 {
const TurnedKernel* turned_kernel();
}
namespace avx512 {
const TurnedKernel* turned_kernel();
}

}  // namespace insdl
