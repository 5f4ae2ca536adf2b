#include "shift_rows.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace insdl {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;
constexpr double kZero = 1e-12;

}  // namespace

ShiftRowsPlan::ShiftRowsPlan(const Model& model, const FormPlan& plan, const std::vector<std::ptrdiff_t>& group,
                             std::ptrdiff_t n_shift, const double* shift, double cells) {
    n_groups_ = static_cast<std::int32_t>(*std::max_element(group.begin(), group.end()) + 1);
    for (const auto* directions : {&plan.x_directions(), &plan.p_directions()})
        for (const Vector3& direction : *directions) {
            directions_.insert(directions_.end(), direction.data(), direction.data() + 3);
            parity_.push_back(directions == &plan.x_directions() ? 1.0 : -1.0);
        }
    const auto n = static_cast<std::size_t>(model.size());
    std::vector<Complex> row(n);
    for (std::ptrdiff_t g = 0; g < n_shift; ++g) {
        const Vector3 magnetic = model.q_to_magnetic() * Eigen::Map<const Vector3>(shift + 3 * g);
        for (std::int32_t number = 0; number < n_groups_; ++number)
            for (std::size_t r = 0; r < parity_.size(); ++r) {
                const bool along_x = parity_[r] > 0.0;
                const Complex factor = along_x ? Complex(1.0) : Complex(0.0, -1.0);  // p carries its -i
                std::fill(row.begin(), row.end(), Complex(0.0));
                for (std::size_t i = 0; i < n; ++i) {
                    if (group[i] != number) continue;
                    const Site& site = model.sites()[i];
                    const Vector3& axis = along_x ? model.frames()[i].e1 : model.frames()[i].e2;
                    const double part = std::sqrt(site.spin / cells) *
                                        Eigen::Map<const Vector3>(directions_.data() + 3 * r).dot(site.moment * axis);
                    const Complex phase = std::polar(1.0, -kTwoPi * magnetic.dot(plan.basis().position[i]));
                    for (const BasisTerm& term : plan.basis().of_site[i])
                        row[static_cast<std::size_t>(term.column)] += factor * part * phase * term.weight;
                }
                first_term_.push_back(static_cast<std::int32_t>(terms_.size()));
                parts_.push_back(0);
                for (std::size_t k = 0; k < n; ++k) {
                    if (std::abs(row[k]) <= kZero) continue;
                    if (std::abs(row[k].real()) > kZero) parts_.back() |= 1;
                    if (std::abs(row[k].imag()) > kZero) parts_.back() |= 2;
                    terms_.push_back({static_cast<std::int32_t>(k), row[k].real(), row[k].imag()});
                }
            }
    }
    first_term_.push_back(static_cast<std::int32_t>(terms_.size()));
}

ShiftRows ShiftRowsPlan::view() const {
    return {n_groups_,          static_cast<std::int32_t>(parity_.size()),
            directions_.data(), parity_.data(),
            first_term_.data(), terms_.data(),
            parts_.data()};
}

}  // namespace insdl
