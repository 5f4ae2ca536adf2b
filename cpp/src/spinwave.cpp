// From a model and a list of q to energies, intensities and amplitudes: lanes first, the careful solver for what they
// leave over; (set, block of q) over threads.
#include "insdl/spinwave.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "careful.hpp"
#include "dispatch.hpp"
#include "insdl/parallel.hpp"
#include "plan.hpp"
#include "workspace.hpp"

namespace insdl {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

double perpendicular(const Matrix3& reciprocal, const double* q, const Complex* v) {
    const Vector3 cart = reciprocal.transpose() * Eigen::Map<const Vector3>(q);
    const double squared = cart.squaredNorm();
    double total = 0.0;
    Complex along = 0.0;
    for (int a = 0; a < 3; ++a) {
        total += std::norm(v[a]);
        along += cart[a] * v[a];
    }
    return squared > 1e-16 ? std::max(0.0, total - std::norm(along) / squared) : 2.0 / 3.0 * total;
}

// The lowest eigenvalue met and where; the same whatever the order in which blocks report.
struct Worst {
    double lowest = kNan;
    std::ptrdiff_t at_q = -1;
    void note(double value, std::ptrdiff_t q) {
        if (!(lowest < value) && (value != lowest || q < at_q)) *this = {value, q};
    }
};

// What one thread works with.
struct Worker {
    Workspace lanes, double_lanes;
    std::vector<double> values;
    std::vector<Complex> amplitude;
    std::vector<unsigned char> careful;
    CarefulModes modes;
};

struct Range {
    std::ptrdiff_t set, begin, count;
};

void solve_range(const FormView& form, const Matrix3& reciprocal, const SpinwaveInput& input,
                 const SpinwaveOutput& output, Precision precision, const Range& range, Worker& worker, Worst& worst) {
    const auto n = static_cast<std::ptrdiff_t>(form.n_modes);
    const std::ptrdiff_t first = range.set * input.n_q + range.begin;
    const auto task = [&](std::ptrdiff_t begin, std::ptrdiff_t count, unsigned char* careful, void* workspace) {
        return ModesTask{
            &form,
            worker.values.data(),
            count,
            input.q + 3 * (range.begin + begin),
            input.factors ? input.factors + (range.begin + begin) * n : nullptr,
            output.energy + (first + begin) * n,
            output.intensity ? output.intensity + (first + begin) * n : nullptr,
            output.amplitude ? reinterpret_cast<double*>(output.amplitude + (first + begin) * n * 3) : nullptr,
            careful,
            workspace};
    };
    const bool single = precision == Precision::kSingle;
    const Kernel& kernel = lane_kernel(single);
    const ModesTask all = task(0, range.count, worker.careful.data(), worker.lanes.get(kernel.workspace(&form)));
    kernel.modes(&all);
    for (std::ptrdiff_t k = 0; k < range.count; ++k) {
        if (!worker.careful[k]) continue;
        if (single) {  // too few digits in single precision: most often double lanes are enough
            const Kernel& wide = lane_kernel(false);
            const ModesTask again =
                task(k, 1, worker.careful.data() + k, worker.double_lanes.get(wide.workspace(&form)));
            wide.modes(&again);
            if (!worker.careful[k]) continue;
        }
        const double* q = input.q + 3 * (range.begin + k);
        const double* factors = input.factors ? input.factors + (range.begin + k) * n : nullptr;
        solve_carefully(form, worker.values.data(), q, worker.modes);
        double* energy = output.energy + (first + k) * n;
        worker.amplitude.resize(static_cast<std::size_t>(3 * n));
        if (worker.modes.stable) {
            amplitudes_of(form, worker.modes, q, factors, worker.amplitude.data());
            std::copy_n(worker.modes.energy.data(), n, energy);
        } else {
            worst.note(worker.modes.lowest, range.begin + k);
            std::fill_n(energy, n, kNan);
            std::fill(worker.amplitude.begin(), worker.amplitude.end(), Complex(kNan, kNan));
        }
        if (output.intensity)
            for (std::ptrdiff_t m = 0; m < n; ++m)
                output.intensity[(first + k) * n + m] =
                    worker.modes.stable ? perpendicular(reciprocal, q, worker.amplitude.data() + 3 * m) : kNan;
        if (output.amplitude) std::copy_n(worker.amplitude.data(), 3 * n, output.amplitude + (first + k) * n * 3);
    }
}

}  // namespace

SpinwavePlan::SpinwavePlan(const Model& model)
    : split_(model.is_split() ? std::make_unique<FormPlan>(model, true) : nullptr),
      full_(std::make_unique<FormPlan>(model, false)) {}
SpinwavePlan::~SpinwavePlan() = default;
SpinwavePlan::SpinwavePlan(SpinwavePlan&&) noexcept = default;

bool SpinwavePlan::is_real() const { return split_ && !split_->view().is_complex; }

const FormPlan& SpinwavePlan::form(Form form) const { return form == Form::kAutomatic && split_ ? *split_ : *full_; }

void spinwave(const SpinwavePlan& plan, const Model& model, const SpinwaveInput& input, Form form, Precision precision,
              int threads, const SpinwaveOutput& output) {
    const FormPlan& compiled = plan.form(form);
    const FormView& view = compiled.view();
    // Enough lanes a block to keep the call's own cost small, few enough to share the work well.
    const std::ptrdiff_t width = lane_kernel(precision == Precision::kSingle).width;
    const std::ptrdiff_t block = width * std::clamp<std::ptrdiff_t>(4096 / (view.n * view.n), 1, 128);
    const std::ptrdiff_t blocks = (input.n_q + block - 1) / block;
    std::vector<Worker> workers(static_cast<std::size_t>(usable_threads(threads)));
    std::vector<Worst> worst(static_cast<std::size_t>(input.n_sets));
    std::mutex guard;
    parallel_blocks(input.n_sets * blocks, 1, threads, [&](std::ptrdiff_t item, std::ptrdiff_t, int thread) {
        Worker& worker = workers[static_cast<std::size_t>(thread)];
        const std::ptrdiff_t set = item / blocks, begin = (item % blocks) * block;
        worker.values.resize(compiled.n_values());
        worker.careful.resize(static_cast<std::size_t>(block));
        compiled.evaluate(input.parameters + set * model.n_parameters(), worker.values.data());
        Worst found;
        solve_range(view, model.reciprocal(), input, output, precision,
                    {set, begin, std::min(block, input.n_q - begin)}, worker, found);
        if (found.at_q < 0) return;
        const std::lock_guard<std::mutex> lock(guard);
        worst[static_cast<std::size_t>(set)].note(found.lowest, found.at_q);
    });
    for (std::ptrdiff_t set = 0; set < input.n_sets; ++set) {
        output.lowest[set] = worst[static_cast<std::size_t>(set)].lowest;
        output.at_q[set] = worst[static_cast<std::size_t>(set)].at_q;
    }
}

}  // namespace insdl
