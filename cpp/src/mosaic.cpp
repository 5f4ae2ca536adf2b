#include "mosaic.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "stencil.hpp"

namespace insdl {
namespace {

// (h, k) of a pixel from (h, k) of the turned crystal that is seen there, r.l.u.: the inverse of B^-1 R(angle) B.
struct Turned {
    double hh, hk, kh, kk;
};

Turned turned_by(const ImageView& image, double angle) {
    const double* a = image.in_plane[0];
    const double* b = image.in_plane[1];
    const double* c = image.c_unit;
    // Turning v around c: cos v + sin c x v; c is perpendicular to the plane.
    const auto coordinates = [&](const double* v) {
        const double cross[3] = {c[1] * v[2] - c[2] * v[1], c[2] * v[0] - c[0] * v[2], c[0] * v[1] - c[1] * v[0]};
        double va = 0.0, vb = 0.0, aa = 0.0, ab = 0.0, bb = 0.0;
        for (int d = 0; d < 3; ++d) {
            const double turned = std::cos(angle) * v[d] - std::sin(angle) * cross[d];
            va += turned * a[d];
            vb += turned * b[d];
            aa += a[d] * a[d];
            ab += a[d] * b[d];
            bb += b[d] * b[d];
        }
        const double area = aa * bb - ab * ab;
        return std::pair{(va * bb - vb * ab) / area, (vb * aa - va * ab) / area};
    };
    const auto [hh, kh] = coordinates(a);
    const auto [hk, kk] = coordinates(b);
    return {hh, hk, kh, kk};
}

// The normal distribution, linear between the entries of a table: to 2e-7. Error functions would take most of the time.
class NormalTable {
  public:
    NormalTable() {
        for (std::size_t k = 0; k < kSize; ++k)
            below_[k] = 0.5 * std::erfc((kLargest - static_cast<double>(k) / kPerUnit) / std::numbers::sqrt2);
    }
    double below(double z) const {
        const double place = (std::clamp(z, -kLargest, kLargest) + kLargest) * kPerUnit;
        const auto cell = std::min(static_cast<std::size_t>(place), kSize - 2);  // truncates; not negative
        return below_[cell] + (place - static_cast<double>(cell)) * (below_[cell + 1] - below_[cell]);
    }

  private:
    static constexpr double kLargest = 6.0, kPerUnit = 512.0;
    static constexpr std::size_t kSize = 2 * 6 * 512 + 1;
    std::array<double, kSize> below_;
};

const NormalTable& normal_table() {
    static const NormalTable table;
    return table;
}

// The mean over a pixel of the momentum resolution around a point, times the step for which the point stands: the
// difference of what lies below the pixel's two edges, and of its change with the place of the point.
class PixelWeight {
  public:
    PixelWeight(double step, double pitch, double sigma)
        : sigma_(sigma), step_(step), factor_(step / pitch), resolved_(sigma > 0.05 * step) {}
    double reach() const { return resolved_ ? kReach * sigma_ : step_; }
    // distance: of the edge from the point.
    double below(double distance) const {
        if (resolved_) return factor_ * normal_.below(distance / sigma_);
        return factor_ * std::clamp(distance / step_ + 0.5, 0.0, 1.0);  // the point stands for an interval of one step
    }
    double density(double distance) const {
        if (!resolved_) return std::abs(distance) < 0.5 * step_ ? factor_ / step_ : 0.0;
        const double z = distance / sigma_;
        return factor_ * std::exp(-0.5 * z * z) / (sigma_ * std::sqrt(2.0 * std::numbers::pi));
    }

  private:
    double sigma_, step_, factor_;
    bool resolved_;
    const NormalTable& normal_ = normal_table();
};

}  // namespace

// The integrand is a Gaussian of the angle times what the pixels see along the arc, which is smooth over the momentum
// width and the pixel. Steps of 1/0.7 of the width of their product are right to 1e-4: 2 exp(-2 pi^2 0.7^2).
std::vector<Turn> mosaic_turns(const ImageView& image, const ImageSettings& settings, double sigma_q) {
    const double pitch = image.pixel_edges[1] - image.pixel_edges[0];
    const double edge = std::max(std::abs(image.pixel_edges[0]), std::abs(image.pixel_edges[image.n_pixel]));
    const double smooth = std::hypot(sigma_q, pitch / std::sqrt(12.0));
    const double ratio = std::numbers::sqrt2 * edge * settings.mosaic / smooth;
    const auto side = static_cast<int>(std::ceil(4.0 * 0.7 * std::sqrt(1.0 + ratio * ratio)));  // a handful
    std::vector<Turn> turns;
    double sum = 0.0;
    for (int k = -side; k <= side; ++k) {
        const double deviations = 4.0 * k / side;
        turns.push_back({deviations * settings.mosaic, std::exp(-0.5 * deviations * deviations)});
        sum += turns.back().weight;
    }
    for (Turn& turn : turns) turn.weight /= sum;
    return turns;
}

// A pixel's h is h / kk + (hk / kk) times its k, because the determinant is one.
void TurnedWeights::prepare(const ImageView& image, const Turn& turn, double sigma_q, double shift_h, double shift_k,
                            std::ptrdiff_t n_pixel) {
    const Turned turned = turned_by(image, turn.angle);
    const double step = grid_step(image), pitch = image.pixel_edges[1] - image.pixel_edges[0];
    const double lowest = image.pixel_edges[image.n_pixel - n_pixel];
    const PixelWeight weight(step, pitch, sigma_q);
    const double reach = weight.reach();
    n_grid_ = image.n_grid;
    n_pixel_ = n_pixel;
    sides_ = image.mirrored ? 2 : 1;
    const auto places = static_cast<std::size_t>(n_grid_ * n_pixel_);
    reach_k_ = std::min(n_grid_, static_cast<std::ptrdiff_t>((pitch + 2.0 * reach) / (turned.kk * step)) * sides_ + 4);
    reach_h_ = std::min(n_pixel_, static_cast<std::ptrdiff_t>((pitch + 2.0 * reach) / pitch) + 2);
    first_k_.assign(places, 0);
    count_k_.assign(places, 0);
    weight_k_.assign(places * static_cast<std::size_t>(2 * reach_k_), 0.0);
    first_pixel_.assign(places * static_cast<std::size_t>(sides_), 0);
    n_pixel_h_.assign(places * static_cast<std::size_t>(sides_), 0);
    weight_h_.assign(places * static_cast<std::size_t>(2 * sides_ * reach_h_), 0.0);
    const auto is_zero = [&](double q) { return std::abs(q) < 0.25 * step; };  // its own mirror image
    for (std::ptrdiff_t h = 0; h < n_grid_; ++h)
        for (std::ptrdiff_t j = 0; j < n_pixel_; ++j) {
            const auto place = static_cast<std::size_t>(h * n_pixel_ + j);
            const double edge = lowest + static_cast<double>(j) * pitch + shift_k;
            const double from_row = turned.kh * image.grid[h] - edge;
            double* row = weight_k_.data() + place * static_cast<std::size_t>(2 * reach_k_);
            std::ptrdiff_t first = n_grid_, last = -1;
            std::ptrdiff_t begin[2], end[2];
            for (int side = 0; side < sides_; ++side) {
                const double sign = side ? -1.0 : 1.0;
                // Points along k whose distance from the pixel's lower edge lies within -reach and pitch + reach.
                const double one = (sign * (-reach - from_row) / turned.kk - image.grid[0]) / step,
                             other = (sign * (pitch + reach - from_row) / turned.kk - image.grid[0]) / step;
                begin[side] = std::clamp<std::ptrdiff_t>(std::lround(std::ceil(std::min(one, other))), 0, n_grid_);
                end[side] = std::clamp<std::ptrdiff_t>(std::lround(std::floor(std::max(one, other))) + 1, 0, n_grid_);
                if (side && begin[1] == 0 && is_zero(image.grid[0])) begin[1] = 1;
                if (begin[side] >= end[side]) continue;
                first = std::min(first, begin[side]);
                last = std::max(last, end[side] - 1);
            }
            if (last >= 0) {
                first_k_[place] = static_cast<std::int32_t>(first);
                count_k_[place] = static_cast<std::int32_t>(std::min(last - first + 1, reach_k_));
                for (int side = 0; side < sides_; ++side)
                    for (std::ptrdiff_t k = begin[side]; k < std::min(end[side], first + reach_k_); ++k) {
                        const double distance = from_row + (side ? -1.0 : 1.0) * turned.kk * image.grid[k];
                        const double share = turn.weight * (weight.below(pitch - distance) - weight.below(-distance));
                        row[2 * (k - first)] += share;
                        row[2 * (k - first) + 1] += share * (distance - 0.5 * pitch);
                    }
            }
            for (int side = 0; side < sides_; ++side) {
                if (side && is_zero(image.grid[h])) continue;
                // The mirror image of a row at one angle is the row at the opposite angle, whose turn this one is.
                const double at = (image.grid[h] + turned.hk * (edge + 0.5 * pitch)) / turned.kk;
                const double along = (side ? -at : at) - shift_h - lowest;
                const auto from =
                    std::clamp<std::ptrdiff_t>(std::lround(std::ceil((along - reach) / pitch - 1.0)), 0, n_pixel_);
                const auto to =
                    std::clamp<std::ptrdiff_t>(std::lround(std::floor((along + reach) / pitch)) + 1, 0, n_pixel_);
                if (from >= to) continue;
                const auto range = place * static_cast<std::size_t>(sides_) + static_cast<std::size_t>(side);
                first_pixel_[range] = static_cast<std::int32_t>(from);
                n_pixel_h_[range] = static_cast<std::int32_t>(std::min(to - from, reach_h_));
                double* spread = weight_h_.data() + range * static_cast<std::size_t>(2 * reach_h_);
                const double slope = (side ? -1.0 : 1.0) * turned.hk / turned.kk;
                double edge_h = static_cast<double>(from) * pitch - along;
                double low = weight.below(edge_h), low_density = weight.density(edge_h);
                for (std::ptrdiff_t i = 0; i < n_pixel_h_[range]; ++i) {
                    edge_h += pitch;
                    const double high = weight.below(edge_h), high_density = weight.density(edge_h);
                    spread[2 * i] = high - low;
                    spread[2 * i + 1] = -slope * (high_density - low_density);
                    low = high;
                    low_density = high_density;
                }
            }
        }
}

TurnedStencil TurnedWeights::view() const {
    return {n_grid_,           n_pixel_,         reach_k_,
            reach_h_,          sides_,           first_k_.data(),
            count_k_.data(),   weight_k_.data(), first_pixel_.data(),
            n_pixel_h_.data(), weight_h_.data()};
}

}  // namespace insdl
