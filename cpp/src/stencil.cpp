#include "stencil.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace insdl {
namespace {

// Pixels are whole numbers of steps wide, so a weight only depends on how many steps a point lies from its pixel:
// weights[m - first] for the point m steps from where the pixel's lower edge has the first point of the grid.
struct Profile {
    std::ptrdiff_t first;
    std::vector<double> weights;
};

// The normal distribution around zero less 1/2 at a distance, or its derivative.
double below(double distance, double sigma, Derivative derivative) {
    if (derivative == Derivative::kNone) return 0.5 * std::erf(distance / (std::numbers::sqrt2 * sigma));
    const double z = distance / sigma;
    const double density = std::exp(-0.5 * z * z) / (std::sqrt(2.0 * std::numbers::pi) * sigma);
    return derivative == Derivative::kFirst ? density : -z * density / sigma;
}

Profile make_profile(double offset, double step, std::ptrdiff_t steps, double sigma, Derivative derivative) {
    const bool resolved = sigma > 0.05 * step;
    const double pitch = step * static_cast<double>(steps), reach = resolved ? kReach * sigma : step;
    const auto first = static_cast<std::ptrdiff_t>(std::ceil((-reach - offset) / step));
    const auto last = static_cast<std::ptrdiff_t>(std::floor((pitch + reach - offset) / step));
    const auto distance = [&](std::ptrdiff_t m) { return offset + static_cast<double>(m) * step; };
    Profile profile{first, {}};
    if (resolved) {  // the Gaussian around the point, integrated from one edge of the pixel to the other
        std::vector<double> edges;
        for (std::ptrdiff_t m = first - steps; m <= last; ++m) edges.push_back(below(-distance(m), sigma, derivative));
        for (std::size_t m = static_cast<std::size_t>(steps); m < edges.size(); ++m)
            profile.weights.push_back((edges[m - static_cast<std::size_t>(steps)] - edges[m]) * step / pitch);
    } else if (derivative ==
               Derivative::kNone) {  // the point stands for an interval of one step: its overlap with the pixel
        for (std::ptrdiff_t m = first; m <= last; ++m) {
            const double low = std::max(0.0, distance(m) - step / 2), high = std::min(pitch, distance(m) + step / 2);
            profile.weights.push_back(std::max(0.0, high - low) / pitch);
        }
    }
    return profile;
}

Stencil make_stencil(const ImageView& image, double sigma, double shift, std::ptrdiff_t n_pixel,
                     Derivative derivative) {
    Stencil stencil{sigma, shift, derivative, n_pixel, {}, {}, {}, {}};
    const std::ptrdiff_t n = image.n_grid, steps = image.steps_per_pixel;
    const double step = grid_step(image);
    const Profile profile = make_profile(image.grid[0] - image.pixel_edges[0] - shift, step, steps, sigma, derivative);
    // A mirrored grid begins at zero, its own mirror image, or half a step from it.
    const std::ptrdiff_t beside = image.grid[0] > 0.25 * step ? 1 : 0;
    stencil.weight.assign(static_cast<std::size_t>(n_pixel * n), 0.0);
    for (std::ptrdiff_t pixel = 0; pixel < n_pixel; ++pixel) {
        std::ptrdiff_t first = n - 1, last = -1, place = (image.n_pixel - n_pixel + pixel) * steps + profile.first;
        for (const double weight : profile.weights) {
            const std::ptrdiff_t g = place >= 0 || !image.mirrored ? place : -place - beside;
            ++place;
            if (g < 0 || g >= n || weight == 0.0) continue;
            stencil.weight[static_cast<std::size_t>(pixel * n + g)] += weight;
            first = std::min(first, g);
            last = std::max(last, g);
        }
        stencil.first.push_back(static_cast<std::int32_t>(first));
        stencil.count.push_back(static_cast<std::int32_t>(std::max<std::ptrdiff_t>(0, last - first + 1)));
    }
    stencil.order.resize(static_cast<std::size_t>(n_pixel));
    std::iota(stencil.order.begin(), stencil.order.end(), 0);
    std::ranges::stable_sort(stencil.order, {},
                             [&](std::int32_t pixel) { return stencil.first[static_cast<std::size_t>(pixel)]; });
    return stencil;
}

}  // namespace

std::size_t StencilCache::find(const ImageView& image, double sigma, double shift, std::ptrdiff_t n_pixel,
                               Derivative derivative) {
    for (std::size_t k = 0; k < stencils_.size(); ++k)
        if (stencils_[k].sigma == sigma && stencils_[k].shift == shift && stencils_[k].n_pixel == n_pixel &&
            stencils_[k].derivative == derivative)
            return k;
    stencils_.push_back(make_stencil(image, sigma, shift, n_pixel, derivative));
    return stencils_.size() - 1;
}

void StencilCache::prepare(const ImageView& image, const ImageSettings& settings) {
    const auto blocks = static_cast<std::size_t>(image.n_block);
    const std::ptrdiff_t n_pixel = is_symmetric(image, settings) ? (image.n_pixel + 1) / 2 : image.n_pixel;
    const auto fill = [&] {
        h_.clear();
        k_.clear();
        for (std::size_t b = 0; b < blocks; ++b) {
            const double sigma = std::hypot(image.blocks[b].sigma_q, settings.extra_sigma_q);
            h_.push_back(find(image, sigma, settings.shift_h, n_pixel, Derivative::kNone));
            k_.push_back(find(image, sigma, settings.shift_k, n_pixel, Derivative::kNone));
            for (const Derivative order : {Derivative::kFirst, Derivative::kSecond}) {
                const bool coupled = image.blocks[b].energy_slope != 0.0;
                h_.push_back(coupled ? find(image, sigma, settings.shift_h, n_pixel, order) : h_.back());
                k_.push_back(coupled ? find(image, sigma, settings.shift_k, n_pixel, order) : k_.back());
            }
        }
    };
    fill();
    if (stencils_.size() <= (image.n_values > image.n_bins ? 12 : 4) * blocks) return;
    stencils_.clear();  // widths that change from image to image must not pile up
    fill();
}

}  // namespace insdl
