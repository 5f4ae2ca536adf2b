#include "careful_lanes.hpp"

#include <algorithm>
#include <limits>

namespace insdl {
namespace {

constexpr double kNeverSeen = -1e6;  // meV; the energy of a mode that no bin reaches

// A zero mode whose weight diverges has no finite intensity: the amplitude that the solver reports is cut off by its
// regularisation, and would shine through every Gaussian tail. (A ferromagnet's zero mode has x and p alike and stays.)
bool diverges(const CarefulModes& modes, Eigen::Index m) {
    if (modes.energy(m) > 0.0) return false;
    const double x = modes.x.col(m).norm(), p = modes.p.col(m).norm();
    return std::max(x, p) > 1e2 * std::min(x, p);
}

}  // namespace

Worst::Worst() : lowest(std::numeric_limits<double>::quiet_NaN()) {}

void Worst::note(double value, std::ptrdiff_t q) {
    if (lowest < value || (value == lowest && q >= at_q)) return;
    lowest = value;
    at_q = q;
}

bool CarefulLanes::solve(void* context, std::ptrdiff_t number, double* energy, double* x, double* p) {
    auto& self = *static_cast<CarefulLanes*>(context);
    const double* from = self.q + self.stride * number;
    const double q[3] = {from[0], from[1], self.stride == 3 ? from[2] : 0.0};
    CarefulModes& modes = self.modes;
    solve_carefully(*self.form, self.values, q, modes);
    if (!modes.stable) {
        self.worst.note(modes.lowest, number);
        return false;
    }
    const Eigen::Index n = self.form->n;
    for (Eigen::Index m = 0; m < n; ++m)
        energy[m] = self.hides_diverging && diverges(modes, m) ? kNeverSeen : modes.energy(m);
    for (Eigen::Index k = 0; k < n; ++k)
        for (Eigen::Index m = 0; m < n; ++m) {
            *x++ = modes.x(k, m).real();
            *p++ = modes.p(k, m).real();
            if (!self.form->is_complex) continue;
            *x++ = modes.x(k, m).imag();
            *p++ = modes.p(k, m).imag();
        }
    return true;
}

}  // namespace insdl
