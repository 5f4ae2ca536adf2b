#pragma once
// Points of an image to pixels: momentum resolution and pixel integration along k, then along h, bins innermost.

#include "../kernel.hpp"
#include "vector.hpp"

namespace insdl::INSDL_ISA {

inline std::size_t pixel_workspace(const ImageView* image) {
    return sizeof(double) * static_cast<std::size_t>(image->n_bins * image->n_pixel * (image->n_pixel + 1));
}

inline void image_pixels(const PixelTask* given) {
    const PixelTask& task = *given;
    const std::ptrdiff_t n = task.image->n_grid, pixels = task.image->n_pixel, stride = task.image->n_bins;
    const std::ptrdiff_t bins = task.n_bins, wide = pixels * bins;
    double* const row = static_cast<double*>(task.workspace);  // (pixel k, bin) of one h
    double* const sums = row + wide;                           // (pixel h, pixel k, bin)
    for (std::ptrdiff_t k = 0; k < pixels * wide; ++k) sums[k] = 0.0;
    // Pixels along h that a point reaches follow each other: [first, last) moves forward with h.
    std::ptrdiff_t first = 0;
    for (std::ptrdiff_t h = 0; h < n; ++h) {
        while (first < pixels && task.along_h.first[first] + task.along_h.count[first] <= h) ++first;
        if (first == pixels) break;
        if (task.along_h.first[first] > h) continue;
        for (std::ptrdiff_t j = 0; j < pixels; ++j) {
            double* to = row + j * bins;
            for (std::ptrdiff_t b = 0; b < bins; ++b) to[b] = 0.0;
            const std::ptrdiff_t begin = task.along_k.first[j];
            for (std::ptrdiff_t k = begin; k < begin + task.along_k.count[j]; ++k) {
                const double weight = task.along_k.weight[j * n + k];
                const double* from = task.points + (h * n + k) * stride + task.first_bin;
                for (std::ptrdiff_t b = 0; b < bins; ++b) to[b] += weight * from[b];
            }
        }
        for (std::ptrdiff_t i = first; i < pixels && task.along_h.first[i] <= h; ++i) {
            const double weight = task.along_h.weight[i * n + h];
            double* to = sums + i * wide;
            for (std::ptrdiff_t k = 0; k < wide; ++k) to[k] += weight * row[k];
        }
    }
    for (std::ptrdiff_t i = 0; i < pixels; ++i)
        for (std::ptrdiff_t j = 0; j < pixels; ++j) {
            const double* here = sums + i * wide + j * bins;
            const double* there = sums + j * wide + i * bins;
            double* to = task.out + (task.transposed ? j * pixels + i : i * pixels + j);
            for (std::ptrdiff_t b = 0; b < bins; ++b)
                to[(task.first_bin + b) * pixels * pixels] += task.factor * here[b] + task.twin * there[b];
        }
}

}  // namespace insdl::INSDL_ISA
