// Pixels of turned points, compiled once per instruction set like kernel.cpp.
#include "../turned_kernel.hpp"
#include "pixels.hpp"

namespace insdl {
namespace INSDL_ISA {
namespace {

std::size_t sums_size(const PixelTask* task) {
    return static_cast<std::size_t>(task->along_k.n_pixel * task->along_k.n_pixel * vectors_of(task->n_bins) *
                                    Bins::kWidth);
}

template <int kVectors>
void gather_vectors(const PixelTask& task, const TurnedStencil& turned, std::ptrdiff_t offset, Bins* sums) {
    const std::ptrdiff_t n = turned.n_grid, pixels = turned.n_pixel, stride = task.image->n_values;
    const std::ptrdiff_t vectors = vectors_of(task.n_bins);
    for (std::ptrdiff_t h = 0; h < n; ++h)
        for (std::ptrdiff_t j = 0; j < pixels; ++j) {
            const std::ptrdiff_t place = h * pixels + j, count = turned.count_k[place];
            if (count == 0) continue;
            const double* weight = turned.weight_k + 2 * place * turned.reach_k;
            const double* from =
                task.points + (h * n + turned.first_k[place]) * stride + task.first_bin + offset * Bins::kWidth;
            Bins middle[kVectors], moved[kVectors];
            for (int v = 0; v < kVectors; ++v) middle[v] = moved[v] = Bins(0.0);
            for (std::ptrdiff_t k = 0; k < count; ++k)
                for (int v = 0; v < kVectors; ++v) {
                    const Bins point = Bins::load(from + k * stride + v * Bins::kWidth);
                    middle[v] += Bins(weight[2 * k]) * point;
                    moved[v] += Bins(weight[2 * k + 1]) * point;
                }
            for (std::ptrdiff_t side = 0; side < turned.sides; ++side) {
                const std::ptrdiff_t range = place * turned.sides + side;
                const double* spread = turned.weight_h + 2 * range * turned.reach_h;
                for (std::ptrdiff_t i = 0; i < turned.n_pixel_h[range]; ++i) {
                    Bins* to = sums + ((turned.first_pixel[range] + i) * pixels + j) * vectors + offset;
                    for (int v = 0; v < kVectors; ++v)
                        to[v] += Bins(spread[2 * i]) * middle[v] + Bins(spread[2 * i + 1]) * moved[v];
                }
            }
        }
}

void gather(const PixelTask* task, const TurnedStencil* turned, double* sums) {
    const std::ptrdiff_t vectors = vectors_of(task->n_bins);
    std::ptrdiff_t offset = 0;
    for (; offset + 2 <= vectors; offset += 2) gather_vectors<2>(*task, *turned, offset, reinterpret_cast<Bins*>(sums));
    for (; offset < vectors; ++offset) gather_vectors<1>(*task, *turned, offset, reinterpret_cast<Bins*>(sums));
}

void put(const PixelTask* task, const double* sums) {
    if (task->single)
        put_image(*task, static_cast<float*>(task->out), reinterpret_cast<const Bins*>(sums));
    else
        put_image(*task, static_cast<double*>(task->out), reinterpret_cast<const Bins*>(sums));
}

const TurnedKernel kTurned{&sums_size, &gather, &put};

}  // namespace

const TurnedKernel* turned_kernel() { return &kTurned; }

}  // namespace INSDL_ISA
}  // namespace insdl
