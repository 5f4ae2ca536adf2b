#pragma once
// Pixels of an image, also where the resolution couples energy and momentum.
//
// A Gaussian with the covariances C_h of E with Qh and C_k of E with Qk is exp(C_h d/dE d/dQh + C_k d/dE d/dQk) of the
// upright Gaussian with the same widths: in Fourier space, where d/dE is i w and d/dQ is i q, that is exp(-w (C q)).
// Integrals over bins and pixels change in the same way. Here the exponential is taken to its second order, with the
// covariances at the middle of each pixel.

#include "pixels.hpp"

namespace insdl::INSDL_ISA {

// Adds to sums the terms of the first and of the second order. other: room for as many sums.
inline void add_coupling(const PixelTask& task, Bins* rows, Bins* sums, Bins* other) {
    const std::ptrdiff_t pixels = task.along_k.n_pixel, vectors = vectors_of(task.n_bins);
    const std::ptrdiff_t once = task.first_derivative, twice = once + task.n_bins;
    const double c = task.coupling;
    const PointSum terms[5] = {{once, task.slope_h, task.along_k},
                               {once, task.along_h, task.slope_k},
                               {twice, task.curvature_h, task.along_k},
                               {twice, task.slope_h, task.slope_k},
                               {twice, task.along_h, task.curvature_k}};
    for (int term = 0; term < 5; ++term) {
        sum_points(task, terms[term], rows, other);
        for (std::ptrdiff_t i = 0; i < pixels; ++i)
            for (std::ptrdiff_t j = 0; j < pixels; ++j) {
                const double h = c * task.q_h[i], k = c * task.q_k[j];
                const double factors[5] = {h, k, 0.5 * h * h, h * k, 0.5 * k * k};
                const Bins factor(factors[term]);
                const std::ptrdiff_t place = (i * pixels + j) * vectors;
                for (std::ptrdiff_t v = 0; v < vectors; ++v) sums[place + v] += factor * other[place + v];
            }
    }
    // What the higher orders would take back: no intensity is negative.
    for (std::ptrdiff_t k = 0; k < pixels * pixels * vectors; ++k) sums[k] = max(sums[k], Bins(0.0));
}

inline void image_pixels(const PixelTask* given) {
    const PixelTask& task = *given;
    const std::ptrdiff_t pixels = task.along_k.n_pixel, wide = pixels * vectors_of(task.n_bins);
    Bins* const rows = static_cast<Bins*>(task.workspace);  // (h, pixel k, bin), kRows of h
    Bins* const sums = rows + kRows * wide;                 // (pixel h, pixel k, bin)
    sum_points(task, {task.first_bin, task.along_h, task.along_k}, rows, sums);
    if (task.coupling != 0.0) add_coupling(task, rows, sums, sums + pixels * wide);
    if (task.single)
        put_image(task, static_cast<float*>(task.out), sums);
    else
        put_image(task, static_cast<double*>(task.out), sums);
}

}  // namespace insdl::INSDL_ISA
