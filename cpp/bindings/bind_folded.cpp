#include "arrays.hpp"
#include "compiled_model.hpp"
#include "insdl/folded.hpp"

namespace insdl::bindings {
namespace {

using Reals = Array<double>;
using Places = Array<std::int32_t>;

// A folded plan with the arrays that it looks at.
struct CompiledFolding {
    py::object owner;  // the Python object of the model
    const CompiledModel* model;
    Reals solve_q, shift;
    Places plus, minus;
    std::ptrdiff_t n_q;
    std::unique_ptr<FoldedPlan> plan;
};

std::unique_ptr<CompiledFolding> make_folding(const py::object& model, const Reals& solve_q, const Reals& shift,
                                              const Places& plus, const Places& minus, std::ptrdiff_t n_q) {
    expect_shape(solve_q, "solve_q", {-1, 3});
    expect_shape(shift, "shift", {-1, 3});
    check_places(plus, "plus", shift.shape(0), solve_q.shape(0), n_q);
    check_places(minus, "minus", shift.shape(0), solve_q.shape(0), n_q);
    auto folding = std::make_unique<CompiledFolding>(
        CompiledFolding{model, &model.cast<const CompiledModel&>(), solve_q, shift, plus, minus, n_q, nullptr});
    folding->plan = std::make_unique<FoldedPlan>(
        folding->model->model, folding->model->plan,
        Folding{solve_q.shape(0), shift.shape(0), solve_q.data(), shift.data(), plus.data(), minus.data()});
    return folding;
}

py::tuple evaluate(const CompiledFolding& folding, const Reals& parameters, int threads) {
    const Model& model = folding.model->model;
    expect_shape(parameters, "parameters", {-1, model.n_parameters()});
    const py::ssize_t sets = parameters.shape(0), nq = folding.n_q, n = model.size();
    Reals energy({sets, nq, n}), intensity({sets, nq, n}), lowest({sets});
    Array<std::int64_t> at_q({sets});
    const SpinwaveOutput output{energy.mutable_data(), intensity.mutable_data(), nullptr, lowest.mutable_data(),
                                at_q.mutable_data()};
    {
        const py::gil_scoped_release release;
        folding.plan->evaluate(model, sets, parameters.data(), nq, threads, output);
    }
    return py::make_tuple(energy, intensity, lowest, at_q);
}

}  // namespace

void bind_folded(py::module_& module) {
    using namespace py::literals;
    py::class_<CompiledFolding>(module, "Folding", "A model at a folded list of q, worked out once.")
        .def(py::init(&make_folding), "model"_a, "solve_q"_a.noconvert(), "shift"_a.noconvert(), "plus"_a.noconvert(),
             "minus"_a.noconvert(), "n_q"_a)
        .def("evaluate", &evaluate, "parameters"_a.noconvert(), "threads"_a,
             "Energies, intensities and instabilities for every parameter set.");
}

}  // namespace insdl::bindings
