#pragma once
// A sample whose blocks are turned around c by small angles of a Gaussian distribution: the angles of a sum that stands
// for it, and the weights of turned points in pixels.

#include <cstdint>
#include <vector>

#include "insdl/image.hpp"
#include "turned_kernel.hpp"

namespace insdl {

struct Turn {
    double angle, weight;  // radian
};

// The trapezoidal rule over 4 standard deviations. sigma_q: momentum width, r.l.u.
std::vector<Turn> mosaic_turns(const ImageView& image, const ImageSettings& settings, double sigma_q);

// Weights of one angle, kept from angle to angle.
class TurnedWeights {
  public:
    // n_pixel: the last pixels of the image, as many as the stencils have.
    void prepare(const ImageView& image, const Turn& turn, double sigma_q, double shift_h, double shift_k,
                 std::ptrdiff_t n_pixel);
    TurnedStencil view() const;

  private:
    std::ptrdiff_t n_grid_ = 0, n_pixel_ = 0, reach_k_ = 0, reach_h_ = 0, sides_ = 1;
    std::vector<std::int32_t> first_k_, count_k_, first_pixel_, n_pixel_h_;
    std::vector<double> weight_k_, weight_h_;
};

}  // namespace insdl
