#include "stencil.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace insdl {
namespace {

// Gaussian integral from a to b around zero.
double gaussian_integral(double a, double b, double sigma) {
    const double root = std::numbers::sqrt2 * sigma;
    return 0.5 * (std::erf(b / root) - std::erf(a / root));
}

Stencil make_stencil(const ImageView& image, double sigma, double shift) {
    Stencil stencil{sigma, shift, {}, {}, {}};
    const auto n = image.n_grid;
    const double step = (image.grid[n - 1] - image.grid[0]) / static_cast<double>(n - 1);
    stencil.weight.assign(static_cast<std::size_t>(image.n_pixel * n), 0.0);
    for (std::ptrdiff_t pixel = 0; pixel < image.n_pixel; ++pixel) {
        const double low = image.pixel_edges[pixel] + shift, high = image.pixel_edges[pixel + 1] + shift;
        const double reach = kReach * sigma + step;
        const auto begin = std::max<std::ptrdiff_t>(0, std::lround(std::floor((low - reach - image.grid[0]) / step)));
        const auto end = std::min<std::ptrdiff_t>(n, std::lround(std::ceil((high + reach - image.grid[0]) / step)) + 1);
        std::ptrdiff_t first = n, last = -1;
        for (std::ptrdiff_t g = begin; g < end; ++g) {
            const double u = image.grid[g];
            if (u < low - reach || u > high + reach) continue;
            // The point stands for an interval of one step: without resolution, its overlap with the pixel.
            const double overlap = std::max(0.0, std::min(high, u + step / 2) - std::max(low, u - step / 2)) / step;
            const double w = sigma > 0.05 * step ? gaussian_integral(low - u, high - u, sigma) : overlap;
            stencil.weight[static_cast<std::size_t>(pixel * n + g)] = w * step / (high - low);
            if (w > 0.0) {
                first = std::min(first, g);
                last = std::max(last, g);
            }
        }
        stencil.first.push_back(static_cast<std::int32_t>(std::min(first, n - 1)));
        stencil.count.push_back(static_cast<std::int32_t>(std::max<std::ptrdiff_t>(0, last - first + 1)));
    }
    return stencil;
}

}  // namespace

std::size_t StencilCache::find(const ImageView& image, double sigma, double shift) {
    for (std::size_t k = 0; k < stencils_.size(); ++k)
        if (stencils_[k].sigma == sigma && stencils_[k].shift == shift) return k;
    stencils_.push_back(make_stencil(image, sigma, shift));
    return stencils_.size() - 1;
}

void StencilCache::prepare(const ImageView& image, const ImageSettings& settings) {
    const auto blocks = static_cast<std::size_t>(image.n_block);
    const auto fill = [&] {
        h_.clear();
        k_.clear();
        for (std::size_t b = 0; b < blocks; ++b) {
            const double sigma = std::hypot(image.blocks[b].sigma_q, settings.extra_sigma_q);
            h_.push_back(find(image, sigma, settings.shift_h));
            k_.push_back(find(image, sigma, settings.shift_k));
        }
    };
    fill();
    if (stencils_.size() <= 4 * blocks) return;
    stencils_.clear();  // widths that change from image to image must not pile up
    fill();
}

}  // namespace insdl
