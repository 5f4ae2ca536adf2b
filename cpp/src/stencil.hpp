#pragma once
// Weight of every grid point in every pixel along one axis: the momentum resolution around the point, integrated over
// the pixel, per point of the pixel.

#include <cstdint>
#include <vector>

#include "insdl/image.hpp"
#include "kernel.hpp"

namespace insdl {

inline double grid_step(const ImageView& image) {
    return (image.grid[image.n_grid - 1] - image.grid[0]) / static_cast<double>(image.n_grid - 1);
}

// Whether an image has the mirrors itself: one that has them and is not shifted.
inline bool is_symmetric(const ImageView& image, const ImageSettings& settings) {
    return image.mirrored && settings.shift_h == 0.0 && settings.shift_k == 0.0;
}

// The weights themselves, or their first or second derivative by the place of the pixel.
enum class Derivative { kNone, kFirst, kSecond };

struct Stencil {
    double sigma, shift;  // what it was made for
    Derivative derivative;
    std::ptrdiff_t n_pixel;  // the last of the image
    std::vector<std::int32_t> order, first, count;
    std::vector<double> weight;  // (n_pixel, n_grid)

    StencilView view() const { return {n_pixel, order.data(), first.data(), count.data(), weight.data()}; }
};

// The stencils of one image, kept for the next one where widths and shifts are the same.
class StencilCache {
  public:
    void prepare(const ImageView& image, const ImageSettings& settings);
    // Derivatives are there for blocks that couple energy and momentum.
    StencilView along_h(std::ptrdiff_t block, Derivative derivative = Derivative::kNone) const {
        return stencils_[h_[3 * static_cast<std::size_t>(block) + static_cast<std::size_t>(derivative)]].view();
    }
    StencilView along_k(std::ptrdiff_t block, Derivative derivative = Derivative::kNone) const {
        return stencils_[k_[3 * static_cast<std::size_t>(block) + static_cast<std::size_t>(derivative)]].view();
    }

  private:
    std::size_t find(const ImageView& image, double sigma, double shift, std::ptrdiff_t n_pixel, Derivative derivative);
    std::vector<Stencil> stencils_;
    std::vector<std::size_t> h_, k_;  // (block, derivative)
};

}  // namespace insdl
