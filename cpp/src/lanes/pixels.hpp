#pragma once
// Points of an image to pixels: momentum resolution and pixel integration along k, then along h, bins innermost, in
// whole vectors of bins (what a vector holds beyond the block's bins is carried along and dropped at the end).

#include "../kernel.hpp"
#include "vector.hpp"

namespace insdl::INSDL_ISA {

using Bins = Lanes<double, 1>;

INSDL_INLINE std::ptrdiff_t vectors_of(std::ptrdiff_t bins) { return (bins + Bins::kWidth - 1) / Bins::kWidth; }

// The most vectors that any block of the image needs for one pixel.
inline std::ptrdiff_t most_vectors(const ImageView& image) {
    std::ptrdiff_t most = 1;
    for (std::ptrdiff_t b = 0; b < image.n_block; ++b) {
        const std::ptrdiff_t vectors = vectors_of(image.blocks[b].n_bins);
        most = vectors > most ? vectors : most;
    }
    return most;
}

inline constexpr int kRows = 4;  // points along h that are gathered together

inline std::size_t pixel_workspace(const ImageView* image) {
    const std::ptrdiff_t images = image->n_values > image->n_bins ? 2 : 1;  // another one for what coupling adds
    return sizeof(Bins) *
           static_cast<std::size_t>(most_vectors(*image) * image->n_pixel * (images * image->n_pixel + kRows));
}

// What is summed: values [first, first + n_bins of the task) of every point with weights along h and k.
struct PointSum {
    std::ptrdiff_t first;
    const StencilView &along_h, &along_k;
};

// rows[r][j] = sum_k along_k.weight[j, k] points[h + r, k] for kRows values of h, kVectors vectors of bins at once.
template <int kVectors>
INSDL_INLINE void gather_rows(const PixelTask& task, const PointSum& what, std::ptrdiff_t h, std::ptrdiff_t vectors,
                              std::ptrdiff_t offset, Bins* rows) {
    const std::ptrdiff_t n = task.image->n_grid, pixels = what.along_k.n_pixel, stride = task.image->n_values;
    // Beyond the last h the weights along h are not looked at; the last row is read again.
    std::ptrdiff_t start[kRows];
    for (int r = 0; r < kRows; ++r)
        start[r] = (h + r < n ? h + r : n - 1) * n * stride + what.first + offset * Bins::kWidth;
    for (std::ptrdiff_t j = 0; j < pixels; ++j) {
        const std::ptrdiff_t begin = what.along_k.first[j], count = what.along_k.count[j];
        const double* weight = what.along_k.weight + j * n + begin;
        const double* from = task.points + begin * stride;
        Bins sums[kRows][kVectors];
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) sums[r][v] = Bins(0.0);
        for (std::ptrdiff_t k = 0; k < count; ++k) {
            const Bins w(weight[k]);
            for (int r = 0; r < kRows; ++r)
                for (int v = 0; v < kVectors; ++v)
                    sums[r][v] += w * Bins::load(from + start[r] + k * stride + v * Bins::kWidth);
        }
        for (int r = 0; r < kRows; ++r)
            for (int v = 0; v < kVectors; ++v) rows[(r * pixels + j) * vectors + offset + v] = sums[r][v];
    }
}

// A vector of bins for each of kWidth pixels (the last one repeated where there are fewer) to a vector of pixels for
// each of these bins.
INSDL_INLINE void load_square(const Bins* from, std::ptrdiff_t count, std::ptrdiff_t step, Double* square) {
    for (int k = 0; k < Bins::kWidth; ++k) square[k] = from[(k < count ? k : count - 1) * step].v[0];
    transpose(square);
}

INSDL_INLINE void store_row(double* to, const Double& value) { __builtin_memcpy(to, &value, sizeof(value)); }

INSDL_INLINE void store_row(float* to, const Double& value) {
    typedef float Narrow __attribute__((vector_size(kBytes / 2)));
    const Narrow narrow = __builtin_convertvector(value, Narrow);
    __builtin_memcpy(to, &narrow, sizeof(narrow));
}

// The image from sums[i, j, bin], kBoth: and from their transpose; squares of pixels along j and bins at a time.
template <bool kBoth, class T>
void put_sums(const PixelTask& task, T* out, const Bins* sums) {
    constexpr int kSide = Bins::kWidth;
    const std::ptrdiff_t pixels = task.along_k.n_pixel, vectors = vectors_of(task.n_bins);
    const std::ptrdiff_t row = task.image->n_pixel, plane = row * row;
    const std::ptrdiff_t wide = pixels * vectors, bins = task.n_bins;
    const Bins here(task.here), there(task.there);
    const bool add = task.add;
    T* const first = out + task.first_bin * plane + (row - pixels) * (row + 1);
    for (std::ptrdiff_t i = 0; i < pixels; ++i)
        for (std::ptrdiff_t j = 0; j < pixels; j += kSide) {
            const std::ptrdiff_t count = pixels - j < kSide ? pixels - j : kSide;
            for (std::ptrdiff_t v = 0; v < vectors; ++v) {
                Double square[kSide], other[kSide];
                load_square(sums + (i * pixels + j) * vectors + v, count, vectors, square);
                if constexpr (kBoth) load_square(sums + (j * pixels + i) * vectors + v, count, wide, other);
                const std::ptrdiff_t left = bins - v * kSide;
                for (int b = 0; b < kSide; ++b) {
                    if (b >= left) break;
                    T* to = first + (v * kSide + b) * plane + i * row + j;
                    Double value = here.v[0] * square[b];
                    if constexpr (kBoth) value += there.v[0] * other[b];
                    if (count == kSide && !add) {
                        store_row(to, value);
                        continue;
                    }
                    double values[kSide];
                    store_row(values, value);
                    for (std::ptrdiff_t k = 0; k < count; ++k)
                        to[k] = static_cast<T>(add ? static_cast<double>(to[k]) + values[k] : values[k]);
                }
            }
        }
}

// The quarters with smaller h, smaller k or both from the one that has been worked out.
template <class T>
void put_mirror_images(const PixelTask& task, T* out) {
    const std::ptrdiff_t pixels = task.along_k.n_pixel, row = task.image->n_pixel, rest = row - pixels;
    for (std::ptrdiff_t bin = task.first_bin; bin < task.first_bin + task.n_bins; ++bin)
        for (std::ptrdiff_t i = rest; i < row; ++i) {
            T* const own = out + (bin * row + i) * row;
            const T* from = own + row - 1;
            T* __restrict to = own;
            for (std::ptrdiff_t j = 0; j < rest; ++j) to[j] = from[-j];
            T* const mirrored = out + (bin * row + row - 1 - i) * row;
            if (mirrored != own) __builtin_memcpy(mirrored, own, static_cast<std::size_t>(row) * sizeof(T));
        }
}

template <class T>
INSDL_INLINE void put_image(const PixelTask& task, T* out, const Bins* sums) {
    if (task.there != 0.0)
        put_sums<true>(task, out, sums);
    else
        put_sums<false>(task, out, sums);
    if (task.along_k.n_pixel < task.image->n_pixel && !task.quarter) put_mirror_images(task, out);
}

// sums[pixel h, pixel k, bin] of weights times points. rows: room for kRows * pixels along k * vectors.
inline void sum_points(const PixelTask& task, const PointSum& what, Bins* rows, Bins* sums) {
    const std::ptrdiff_t n = task.image->n_grid, pixels = what.along_k.n_pixel;
    const std::ptrdiff_t vectors = vectors_of(task.n_bins), wide = pixels * vectors;
    const StencilView& along_h = what.along_h;
    std::ptrdiff_t done = 0;  // pixels along h whose sums have been started
    // In the stencil's order the pixels along h that a point reaches follow each other: [first, ...) moves forward with
    // h. Some between them may end before: their weights are zero.
    std::ptrdiff_t first = 0;
    for (std::ptrdiff_t h = 0; h < n; h += kRows) {
        const auto begin = [&](std::ptrdiff_t place) { return along_h.first[along_h.order[place]]; };
        while (first < pixels && begin(first) + along_h.count[along_h.order[first]] <= h) ++first;
        if (first == pixels) break;
        if (begin(first) >= h + kRows) continue;
        std::ptrdiff_t offset = 0;
        for (; offset + 2 <= vectors; offset += 2) gather_rows<2>(task, what, h, vectors, offset, rows);
        for (; offset < vectors; ++offset) gather_rows<1>(task, what, h, vectors, offset, rows);
        for (std::ptrdiff_t place = first; place < pixels && begin(place) < h + kRows; ++place) {
            const std::ptrdiff_t i = along_h.order[place];
            Bins weight[kRows];
            for (int r = 0; r < kRows; ++r) weight[r] = Bins(h + r < n ? along_h.weight[i * n + h + r] : 0.0);
            Bins* to = sums + i * wide;
            const bool fresh = place >= done;
            for (std::ptrdiff_t k = 0; k < wide; ++k) {
                Bins sum = fresh ? Bins(0.0) : to[k];
                for (int r = 0; r < kRows; ++r) sum += weight[r] * rows[r * wide + k];
                to[k] = sum;
            }
            if (fresh) done = place + 1;
        }
    }
    for (; done < pixels; ++done)
        for (std::ptrdiff_t k = 0; k < wide; ++k) sums[along_h.order[done] * wide + k] = Bins(0.0);
}

}  // namespace insdl::INSDL_ISA
