#include <pybind11/eigen.h>

#include "arrays.hpp"
#include "compiled_model.hpp"

namespace insdl::bindings {
namespace {

using Reals = Array<double>;
using Integers = Array<std::int64_t>;

Vector3 vector_at(const Reals& array, py::ssize_t i) { return Eigen::Map<const Vector3>(array.data() + 3 * i); }

Matrix3 matrix_at(const Reals& array, py::ssize_t i) {
    return Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(array.data() + 9 * i);
}

std::unique_ptr<CompiledModel> make_model(const Reals& positions, const Reals& spins, const Reals& directions,
                                          const Reals& moments, const Integers& bond_sites, const Reals& bond_offsets,
                                          const Reals& bond_exchanges, const Integers& bond_parameters,
                                          const Integers& ion_sites, const Reals& ion_matrices,
                                          const Integers& ion_parameters, const Integers& zeeman_sites,
                                          const Reals& zeeman_vectors, const Integers& zeeman_parameters,
                                          std::ptrdiff_t n_parameters, const Reals& q_to_magnetic,
                                          const Reals& reciprocal, double n_cells) {
    const py::ssize_t n = spins.size(), bonds = bond_parameters.size(), ions = ion_parameters.size(),
                      zeemans = zeeman_parameters.size();
    expect_shape(positions, "positions", {n, 3});
    expect_shape(spins, "spins", {n});
    expect_shape(directions, "directions", {n, 3});
    expect_shape(moments, "moments", {n, 3, 3});
    expect_shape(bond_sites, "bond_sites", {bonds, 2});
    expect_shape(bond_offsets, "bond_offsets", {bonds, 3});
    expect_shape(bond_exchanges, "bond_exchanges", {bonds, 3, 3});
    expect_shape(ion_sites, "ion_sites", {ions});
    expect_shape(ion_matrices, "ion_matrices", {ions, 3, 3});
    expect_shape(zeeman_sites, "zeeman_sites", {zeemans});
    expect_shape(zeeman_vectors, "zeeman_vectors", {zeemans, 3});
    expect_shape(q_to_magnetic, "q_to_magnetic", {3, 3});
    expect_shape(reciprocal, "reciprocal", {3, 3});
    ModelDescription description;
    description.n_parameters = n_parameters;
    description.q_to_magnetic = matrix_at(q_to_magnetic, 0);
    description.reciprocal = matrix_at(reciprocal, 0);
    description.n_cells = n_cells;
    for (py::ssize_t i = 0; i < n; ++i)
        description.sites.push_back(
            {vector_at(positions, i), spins.data()[i], vector_at(directions, i), matrix_at(moments, i)});
    for (py::ssize_t b = 0; b < bonds; ++b)
        description.bonds.push_back({bond_sites.data()[2 * b], bond_sites.data()[2 * b + 1], vector_at(bond_offsets, b),
                                     matrix_at(bond_exchanges, b), bond_parameters.data()[b]});
    for (py::ssize_t k = 0; k < ions; ++k)
        description.single_ions.push_back({ion_sites.data()[k], matrix_at(ion_matrices, k), ion_parameters.data()[k]});
    for (py::ssize_t k = 0; k < zeemans; ++k)
        description.zeemans.push_back(
            {zeeman_sites.data()[k], vector_at(zeeman_vectors, k), zeeman_parameters.data()[k]});
    return std::make_unique<CompiledModel>(description);
}

py::tuple solve(const CompiledModel& compiled, const Reals& q, const Reals& parameters, const py::object& factors,
                bool full, bool single, bool amplitudes, int threads) {
    const Model& model = compiled.model;
    expect_shape(q, "q", {-1, 3});
    expect_shape(parameters, "parameters", {-1, model.n_parameters()});
    const py::ssize_t sets = parameters.shape(0), nq = q.shape(0), n = model.size();
    Reals factor_array;
    if (!factors.is_none()) {
        factor_array = factors.cast<Reals>();
        expect_shape(factor_array, "factors", {nq, n});
    }
    Reals energy({sets, nq, n}), intensity({sets, nq, n}), lowest({sets});
    Integers at_q({sets});
    py::object amplitude = py::none();
    Complex* amplitude_data = nullptr;
    if (amplitudes) {
        Array<Complex> array({sets, nq, n, py::ssize_t{3}});
        amplitude_data = array.mutable_data();
        amplitude = array;
    }
    const SpinwaveInput input{sets, parameters.data(), nq, q.data(), factors.is_none() ? nullptr : factor_array.data()};
    const SpinwaveOutput output{energy.mutable_data(), intensity.mutable_data(), amplitude_data, lowest.mutable_data(),
                                at_q.mutable_data()};
    {
        const py::gil_scoped_release release;
        spinwave(compiled.plan, model, input, full ? Form::kFull : Form::kAutomatic,
                 single ? Precision::kSingle : Precision::kDouble, threads, output);
    }
    return py::make_tuple(energy, intensity, amplitude, lowest, at_q);
}

const double* checked(const CompiledModel& compiled, const Reals& parameters) {
    const Model& model = compiled.model;
    expect_shape(parameters, "parameters", {model.n_parameters()});
    return parameters.data();
}

}  // namespace

void bind_model(py::module_& module) {
    using namespace py::literals;
    py::class_<CompiledModel>(module, "Model", "A spin model's geometry, worked out once.")
        .def(py::init(&make_model), "positions"_a.noconvert(), "spins"_a.noconvert(), "directions"_a.noconvert(),
             "moments"_a.noconvert(), "bond_sites"_a.noconvert(), "bond_offsets"_a.noconvert(),
             "bond_exchanges"_a.noconvert(), "bond_parameters"_a.noconvert(), "ion_sites"_a.noconvert(),
             "ion_matrices"_a.noconvert(), "ion_parameters"_a.noconvert(), "zeeman_sites"_a.noconvert(),
             "zeeman_vectors"_a.noconvert(), "zeeman_parameters"_a.noconvert(), "n_parameters"_a,
             "q_to_magnetic"_a.noconvert(), "reciprocal"_a.noconvert(), "n_cells"_a)
        .def_property_readonly(
            "is_split", [](const CompiledModel& m) { return m.model.is_split(); },
            "Whether the N x N split form applies.")
        .def_property_readonly(
            "is_layered", [](const CompiledModel& m) { return m.model.is_layered(); },
            "Whether no bond couples cells along c.")
        .def_property_readonly(
            "is_real", [](const CompiledModel& m) { return m.plan.is_real(); },
            "Whether an inversion makes the split form's matrices real.")
        .def(
            "classical_energy",
            [](const CompiledModel& m, const Reals& p) { return m.model.classical_energy(checked(m, p)); },
            "parameters"_a.noconvert(), "Classical energy of the magnetic cell, meV.")
        .def(
            "torque",
            [](const CompiledModel& m, const Reals& p) {
                return Eigen::MatrixXd(m.model.torque(checked(m, p)).transpose());
            },
            "parameters"_a.noconvert(), "Torque on every moment, meV.")
        .def("solve", &solve, "q"_a.noconvert(), "parameters"_a.noconvert(), "factors"_a, "full"_a, "single"_a,
             "amplitudes"_a, "threads"_a,
             "Energies, intensities, amplitudes and instabilities for every parameter set and q.");
}

}  // namespace insdl::bindings
