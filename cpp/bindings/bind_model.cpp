#include <pybind11/eigen.h>

#include "arrays.hpp"
#include "insdl/spinwave.hpp"

namespace insdl::bindings {
namespace {

using Reals = Array<double>;
using Integers = Array<std::int64_t>;

Vector3 vector_at(const Reals& array, py::ssize_t i) { return Eigen::Map<const Vector3>(array.data() + 3 * i); }

Matrix3 matrix_at(const Reals& array, py::ssize_t i) {
    return Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(array.data() + 9 * i);
}

Model make_model(const Reals& positions, const Reals& spins, const Reals& directions, const Reals& moments,
                 const Integers& bond_sites, const Reals& bond_offsets, const Reals& bond_exchanges,
                 const Integers& bond_parameters, const Integers& ion_sites, const Reals& ion_matrices,
                 const Integers& ion_parameters, const Integers& zeeman_sites, const Reals& zeeman_vectors,
                 const Integers& zeeman_parameters, std::ptrdiff_t n_parameters) {
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
    ModelDescription description;
    description.n_parameters = n_parameters;
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
    return Model(description);
}

py::tuple solve(const Model& model, const Reals& q, const Reals& parameters, const py::object& factors, bool full,
                int threads) {
    expect_shape(q, "q", {-1, 3});
    expect_shape(parameters, "parameters", {-1, model.n_parameters()});
    const py::ssize_t sets = parameters.shape(0), nq = q.shape(0), n = model.size();
    Reals factor_array;
    if (!factors.is_none()) {
        factor_array = factors.cast<Reals>();
        expect_shape(factor_array, "factors", {nq, n});
    }
    Reals energy({sets, nq, n});
    Array<Complex> amplitude({sets, nq, n, py::ssize_t{3}});
    Reals lowest({sets, nq});
    const SpinwaveInput input{sets, parameters.data(), nq, q.data(), factors.is_none() ? nullptr : factor_array.data()};
    const SpinwaveOutput output{energy.mutable_data(), amplitude.mutable_data(), lowest.mutable_data()};
    {
        const py::gil_scoped_release release;
        spinwave(model, input, full ? Form::kFull : Form::kAutomatic, threads, output);
    }
    return py::make_tuple(energy, amplitude, lowest);
}

const double* checked(const Model& model, const Reals& parameters) {
    expect_shape(parameters, "parameters", {model.n_parameters()});
    return parameters.data();
}

}  // namespace

void bind_model(py::module_& module) {
    using namespace py::literals;
    py::class_<Model>(module, "Model", "A spin model's geometry, worked out once.")
        .def(py::init(&make_model), "positions"_a.noconvert(), "spins"_a.noconvert(), "directions"_a.noconvert(),
             "moments"_a.noconvert(), "bond_sites"_a.noconvert(), "bond_offsets"_a.noconvert(),
             "bond_exchanges"_a.noconvert(), "bond_parameters"_a.noconvert(), "ion_sites"_a.noconvert(),
             "ion_matrices"_a.noconvert(), "ion_parameters"_a.noconvert(), "zeeman_sites"_a.noconvert(),
             "zeeman_vectors"_a.noconvert(), "zeeman_parameters"_a.noconvert(), "n_parameters"_a)
        .def_property_readonly("is_split", &Model::is_split, "Whether the N x N split form applies.")
        .def_property_readonly("is_layered", &Model::is_layered, "Whether no bond couples cells along c.")
        .def(
            "classical_energy", [](const Model& m, const Reals& p) { return m.classical_energy(checked(m, p)); },
            "parameters"_a.noconvert(), "Classical energy of the magnetic cell, meV.")
        .def(
            "torque",
            [](const Model& m, const Reals& p) { return Eigen::MatrixXd(m.torque(checked(m, p)).transpose()); },
            "parameters"_a.noconvert(), "Torque on every moment, meV.")
        .def("solve", &solve, "q"_a.noconvert(), "parameters"_a.noconvert(), "factors"_a, "full"_a, "threads"_a,
             "Energies, amplitudes and instabilities for every parameter set and q.");
}

}  // namespace insdl::bindings
