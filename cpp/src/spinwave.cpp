// From a model and a list of q to energies, intensities and amplitudes: lanes first, the careful solver for what they
// leave over; (set, block of q) over threads.
#include "insdl/spinwave.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <vector>

#include "careful_lanes.hpp"
#include "dispatch.hpp"
#include "insdl/error.hpp"
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

// Whether all are finite and near enough that phases keep their digits.
bool within_reach(const double* q, std::ptrdiff_t count) {
    double sums[6] = {};  // of squares: one quick number, and only where it is large is there something to look for
    for (std::ptrdiff_t k = 0; k + 1 < count; k += 2)
        for (int a = 0; a < 6; ++a) sums[a] += q[3 * k + a] * q[3 * k + a];
    const double* const last = q + 3 * (count - 1);
    const double total = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + last[0] * last[0] +
                         last[1] * last[1] + last[2] * last[2];
    return total <= kFarthestQ * kFarthestQ ||
           std::all_of(q, q + 3 * count, [](double x) { return std::abs(x) <= kFarthestQ; });
}

// Some q of a block, copied together.
struct Gathered {
    std::vector<std::ptrdiff_t> number;
    std::vector<double> q, factors, energy, intensity;
    std::vector<Complex> amplitude;
    std::vector<unsigned char> careful;
};

// What one thread works with.
struct Worker {
    Workspace lanes;
    Gathered gathered;
    std::vector<double> values;
    std::vector<Complex> amplitude;
    std::vector<unsigned char> careful;
    CarefulModes modes;
};

struct Range {
    std::ptrdiff_t set, begin, count;
};

// Where the modes of some q lie in the caller's arrays.
struct Place {
    const double *q, *factors;
    double *energy, *intensity;
    Complex* amplitude;

    Place at(std::ptrdiff_t k, std::ptrdiff_t n) const {
        return {q + 3 * k, factors ? factors + k * n : nullptr, energy + k * n, intensity ? intensity + k * n : nullptr,
                amplitude ? amplitude + 3 * k * n : nullptr};
    }
};

void solve_in_lanes(const FormView& form, bool single, const Place& place, std::ptrdiff_t count, Worker& worker,
                    unsigned char* careful) {
    const Kernel& kernel = lane_kernel(single);
    const ModesTask task{&form,           worker.values.data(),
                         count,           place.q,
                         place.factors,   place.energy,
                         place.intensity, reinterpret_cast<double*>(place.amplitude),
                         careful,         worker.lanes.get(kernel.workspace(&form))};
    kernel.modes(&task);
}

void solve_one_carefully(const FormView& form, const Matrix3& reciprocal, const Place& place, std::ptrdiff_t q_number,
                         Worker& worker, Worst& worst) {
    const auto n = static_cast<std::size_t>(form.n_modes);
    solve_carefully(form, worker.values.data(), place.q, worker.modes);
    worker.amplitude.assign(3 * n, Complex(kNan, kNan));
    if (worker.modes.stable) {
        amplitudes_of(form, worker.modes, place.q, place.factors, worker.amplitude.data());
        std::copy_n(worker.modes.energy.data(), n, place.energy);
    } else {
        worst.note(worker.modes.lowest, q_number);
        std::fill_n(place.energy, n, kNan);
    }
    if (place.intensity)
        for (std::size_t m = 0; m < n; ++m)
            place.intensity[m] =
                worker.modes.stable ? perpendicular(reciprocal, place.q, worker.amplitude.data() + 3 * m) : kNan;
    if (place.amplitude) std::copy_n(worker.amplitude.data(), 3 * n, place.amplitude);
}

// In single precision some q keep too few digits: these are solved in double lanes, together.
void solve_again_in_double(const FormView& form, const Place& all, std::ptrdiff_t count, Worker& worker) {
    const auto n = static_cast<std::ptrdiff_t>(form.n_modes);
    Gathered& some = worker.gathered;
    some.number.clear();
    for (std::ptrdiff_t k = 0; k < count; ++k)
        if (worker.careful[static_cast<std::size_t>(k)]) some.number.push_back(k);
    if (some.number.empty()) return;
    const auto size = static_cast<std::ptrdiff_t>(some.number.size());
    some.q.resize(static_cast<std::size_t>(3 * size));
    some.factors.resize(static_cast<std::size_t>(all.factors ? size * n : 0));
    some.energy.resize(static_cast<std::size_t>(size * n));
    some.intensity.resize(some.energy.size());
    some.amplitude.resize(all.amplitude ? 3 * some.energy.size() : 0);
    some.careful.resize(static_cast<std::size_t>(size));
    const Place scratch{some.q.data(), all.factors ? some.factors.data() : nullptr, some.energy.data(),
                        some.intensity.data(), all.amplitude ? some.amplitude.data() : nullptr};
    for (std::ptrdiff_t k = 0; k < size; ++k) {
        const Place from = all.at(some.number[static_cast<std::size_t>(k)], n);
        std::copy_n(from.q, 3, some.q.data() + 3 * k);
        if (from.factors) std::copy_n(from.factors, n, some.factors.data() + k * n);
    }
    solve_in_lanes(form, false, scratch, size, worker, some.careful.data());
    for (std::ptrdiff_t k = 0; k < size; ++k) {
        const std::ptrdiff_t number = some.number[static_cast<std::size_t>(k)];
        const Place from = scratch.at(k, n), to = all.at(number, n);
        std::copy_n(from.energy, n, to.energy);
        if (to.intensity) std::copy_n(from.intensity, n, to.intensity);
        if (to.amplitude) std::copy_n(from.amplitude, 3 * n, to.amplitude);
        worker.careful[static_cast<std::size_t>(number)] = some.careful[static_cast<std::size_t>(k)];
    }
}

void solve_range(const FormView& form, const Matrix3& reciprocal, const SpinwaveInput& input,
                 const SpinwaveOutput& output, Precision precision, const Range& range, Worker& worker, Worst& worst) {
    const auto n = static_cast<std::ptrdiff_t>(form.n_modes);
    const std::ptrdiff_t first = (range.set * input.n_q + range.begin) * n;
    const Place place{input.q + 3 * range.begin, input.factors ? input.factors + range.begin * n : nullptr,
                      output.energy + first, output.intensity ? output.intensity + first : nullptr,
                      output.amplitude ? output.amplitude + 3 * first : nullptr};
    solve_in_lanes(form, precision == Precision::kSingle, place, range.count, worker, worker.careful.data());
    if (precision == Precision::kSingle) solve_again_in_double(form, place, range.count, worker);
    for (std::ptrdiff_t k = 0; k < range.count; ++k)
        if (worker.careful[static_cast<std::size_t>(k)])
            solve_one_carefully(form, reciprocal, place.at(k, n), range.begin + k, worker, worst);
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
    const FormView& view = input.factors ? compiled.view() : compiled.plain_view();
    // Enough lanes a block to keep the call's own cost small, few enough to share the work well.
    const std::ptrdiff_t width = lane_kernel(precision == Precision::kSingle).width;
    const std::ptrdiff_t block = width * std::clamp<std::ptrdiff_t>(4096 / (view.n * view.n), 1, 128);
    const std::ptrdiff_t blocks = (input.n_q + block - 1) / block;
    std::vector<Worker> workers(static_cast<std::size_t>(usable_threads(threads)));
    std::vector<Worst> worst(static_cast<std::size_t>(input.n_sets));
    std::mutex guard;
    std::atomic<bool> within{true};
    parallel_blocks(input.n_sets * blocks, 1, threads, [&](std::ptrdiff_t item, std::ptrdiff_t, int thread) {
        Worker& worker = workers[static_cast<std::size_t>(thread)];
        const std::ptrdiff_t set = item / blocks, begin = (item % blocks) * block;
        if (!within_reach(input.q + 3 * begin, std::min(block, input.n_q - begin))) {
            within = false;
            return;
        }
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
    if (!within) fail("every q must be finite and at most " + std::to_string(kFarthestQ) + " r.l.u.");
    for (std::ptrdiff_t set = 0; set < input.n_sets; ++set) {
        output.lowest[set] = worst[static_cast<std::size_t>(set)].lowest;
        output.at_q[set] = worst[static_cast<std::size_t>(set)].at_q;
    }
}

}  // namespace insdl
