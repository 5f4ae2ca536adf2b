// Energies and intensities of a folded list of q: lanes over the distinct ones; (set, block) over threads.
#include "insdl/folded.hpp"

#include <algorithm>
#include <limits>
#include <mutex>
#include <vector>

#include "careful_lanes.hpp"
#include "dispatch.hpp"
#include "insdl/error.hpp"
#include "insdl/parallel.hpp"
#include "shift_rows.hpp"
#include "workspace.hpp"

namespace insdl {
namespace {

// Sites that share a phase besides exp(-2 pi i G.u): of each site, and the phases' waves.
std::vector<std::ptrdiff_t> group_by_wave(const FormView& form, std::vector<double>& waves) {
    waves.assign(form.site_waves, form.site_waves + 3 * form.n_site_waves);
    return {form.wave_of_site, form.wave_of_site + form.n_sites};
}

struct Worker {
    Workspace lanes;
    std::vector<double> values;
    CarefulLanes careful;
};

}  // namespace

struct FoldedPlan::Compiled {
    Compiled(const Model& model, const FormPlan& plan, const Folding& folding)
        : form(plan),
          rows(model, plan, group_by_wave(plan.view(), waves), folding.n_shift, folding.shift, model.n_cells()) {
        view = {folding.n_solve, folding.n_shift, folding.solve_q, folding.shift,
                folding.plus,    folding.minus,   rows.view(),     waves.data()};
    }
    const FormPlan& form;
    std::vector<double> waves;
    ShiftRowsPlan rows;
    FoldedView view{};
};

FoldedPlan::FoldedPlan(const Model& model, const SpinwavePlan& plan, const Folding& folding) {
    if (!model.is_split()) fail("q can be folded only for a model in split form");
    compiled_ = std::make_unique<Compiled>(model, plan.form(Form::kAutomatic), folding);
}

FoldedPlan::~FoldedPlan() = default;

void FoldedPlan::evaluate(const Model& model, std::ptrdiff_t n_sets, const double* parameters, std::ptrdiff_t n_q,
                          int threads, const SpinwaveOutput& output) const {
    const FormPlan& form = compiled_->form;
    const FoldedView& folded = compiled_->view;
    const Kernel& kernel = lane_kernel(false);
    const std::size_t size = kernel.folded_workspace(&form.view(), &folded);
    const std::ptrdiff_t block = kernel.width, blocks = (folded.n_solve + block - 1) / block;
    std::vector<Worker> workers(static_cast<std::size_t>(usable_threads(threads)));
    std::vector<Worst> worst(static_cast<std::size_t>(n_sets));
    std::mutex guard;
    parallel_blocks(n_sets * blocks, 1, threads, [&](std::ptrdiff_t item, std::ptrdiff_t, int thread) {
        Worker& worker = workers[static_cast<std::size_t>(thread)];
        const std::ptrdiff_t set = item / blocks, begin = (item % blocks) * block;
        worker.values.resize(form.n_values());
        form.evaluate(parameters + set * model.n_parameters(), worker.values.data());
        CarefulLanes& careful = worker.careful;
        careful.form = &form.view();
        careful.values = worker.values.data();
        careful.q = folded.solve_q;
        careful.worst = {};
        const FoldedTask task{&form.view(),
                              &folded,
                              worker.values.data(),
                              begin,
                              std::min(begin + block, folded.n_solve),
                              output.energy + set * n_q * model.size(),
                              output.intensity + set * n_q * model.size(),
                              &CarefulLanes::solve,
                              &careful,
                              worker.lanes.get(size)};
        kernel.folded(&task);
        if (careful.worst.at_q < 0) return;
        const std::lock_guard<std::mutex> lock(guard);
        worst[static_cast<std::size_t>(set)].note(careful.worst.lowest, careful.worst.at_q);
    });
    for (std::ptrdiff_t set = 0; set < n_sets; ++set) {
        output.lowest[set] = worst[static_cast<std::size_t>(set)].lowest;
        output.at_q[set] = worst[static_cast<std::size_t>(set)].at_q;
    }
}

}  // namespace insdl
