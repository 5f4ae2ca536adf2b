// From a model and a list of q to energies and neutron amplitudes; blocks of q over threads.
#include "insdl/spinwave.hpp"

#include <cmath>
#include <limits>
#include <numbers>

#include "insdl/parallel.hpp"
#include "kernel.hpp"

namespace insdl {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;
constexpr std::ptrdiff_t kBlock = 32;

// v = sum_i exp(-2 pi i q.r_i) F_i sqrt(S_i) (e1_i x_i + e2_i p_i): whole-cell phases are in H, site phases here.
void project(const Model& model, const ModeSet& modes, const double* q, const double* factors, Complex* amplitude) {
    const auto n = model.size();
    Eigen::Map<Eigen::Matrix<Complex, Eigen::Dynamic, 3, Eigen::RowMajor>> result(amplitude, n, 3);
    result.setZero();
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const Site& site = model.sites()[i];
        const Frame& frame = model.frames()[i];
        const double angle = -kTwoPi * (q[0] * site.position.x() + q[1] * site.position.y() + q[2] * site.position.z());
        const Complex phase = std::polar(std::sqrt(site.spin) * (factors ? factors[i] : 1.0), angle);
        const Vector3 e1 = site.moment * frame.e1, e2 = site.moment * frame.e2;
        for (std::ptrdiff_t m = 0; m < n; ++m) {
            const Complex x = phase * modes.x(i, m), p = phase * modes.p(i, m);
            for (int a = 0; a < 3; ++a) result(m, a) += e1[a] * x + e2[a] * p;
        }
    }
}

}  // namespace

double scale_of(const QuadraticForm& form) {
    const double largest = std::max(form.v.diagonal().cwiseAbs().maxCoeff(), form.t.diagonal().cwiseAbs().maxCoeff());
    return std::max(largest, 1e-12);  // meV: a model without any term still has zero-energy modes
}

void assemble(const Model& model, const double* parameters, const double* q, bool split, QuadraticForm& form) {
    const auto n = model.size();
    form.v.setZero(n, n);
    form.t.setZero(n, n);
    if (!split) form.g.setZero(n, n);
    const auto strength = [&](std::ptrdiff_t parameter) { return parameter == kFixed ? 1.0 : parameters[parameter]; };
    for (const OnSite& term : model.on_sites()) {
        const double s = strength(term.parameter);
        form.v(term.site, term.site) += s * term.xx;
        form.t(term.site, term.site) += s * term.pp;
        if (!split) form.g(term.site, term.site) += s * term.xp;
    }
    Eigen::VectorXcd phases(static_cast<Eigen::Index>(model.offsets().size()));
    for (Eigen::Index k = 0; k < phases.size(); ++k) {
        const Vector3& d = model.offsets()[k];
        phases(k) = std::polar(1.0, kTwoPi * (q[0] * d.x() + q[1] * d.y() + q[2] * d.z()));
    }
    for (const Hop& hop : model.hops()) {
        const Complex phase = strength(hop.parameter) * phases(hop.offset);
        form.v(hop.i, hop.j) += hop.xx * phase;
        form.v(hop.j, hop.i) += hop.xx * std::conj(phase);
        form.t(hop.i, hop.j) += hop.pp * phase;
        form.t(hop.j, hop.i) += hop.pp * std::conj(phase);
        if (!split) {
            form.g(hop.i, hop.j) += hop.xp * phase;
            form.g(hop.j, hop.i) += hop.px * std::conj(phase);
        }
    }
}

void spinwave(const Model& model, const SpinwaveInput& input, Form form, int threads, const SpinwaveOutput& output) {
    const auto n = model.size();
    const bool split = form == Form::kAutomatic && model.is_split();
    constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
    parallel_blocks(input.n_sets * input.n_q, kBlock, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int) {
        QuadraticForm quadratic;
        ModeSet modes;
        for (std::ptrdiff_t index = begin; index < end; ++index) {
            const double* parameters = input.parameters + (index / input.n_q) * model.n_parameters();
            const double* q = input.q + (index % input.n_q) * 3;
            const double* factors = input.factors ? input.factors + (index % input.n_q) * n : nullptr;
            assemble(model, parameters, q, split, quadratic);
            split ? solve_split(quadratic, modes) : solve_full(quadratic, modes);
            double* energy = output.energy + index * n;
            Complex* amplitude = output.amplitude + index * n * 3;
            if (modes.stable) {
                Eigen::Map<Eigen::VectorXd>(energy, n) = modes.energy;
                project(model, modes, q, factors, amplitude);
                output.lowest[index] = kNan;
            } else {
                std::fill(energy, energy + n, kNan);
                std::fill(amplitude, amplitude + 3 * n, Complex(kNan, kNan));
                output.lowest[index] = modes.lowest_eigenvalue;
            }
        }
    });
}

}  // namespace insdl
