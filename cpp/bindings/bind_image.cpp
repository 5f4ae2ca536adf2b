#include "arrays.hpp"
#include "insdl/image.hpp"

namespace insdl::bindings {
namespace {

using Reals = Array<double>;

// Keeps the arrays that the geometry looks at.
struct OwnedGeometry {
    Reals reciprocal, solve_q, point_q, grid, pixel_edges, bins, form_factor;
    Array<std::int64_t> begin, point;
    Array<std::uint8_t> negated;
    std::vector<ImageBlock> blocks;
    ImageGeometry view;
};

OwnedGeometry make_geometry(const Reals& reciprocal, const Reals& solve_q, const Array<std::int64_t>& begin,
                            const Array<std::int64_t>& point, const Array<std::uint8_t>& negated, const Reals& point_q,
                            const Reals& grid, const Reals& pixel_edges, const Reals& blocks,
                            const Array<std::int64_t>& block_bins, const Reals& bins, const Reals& form_factor,
                            double form_factor_step) {
    expect_shape(reciprocal, "reciprocal", {3, 3});
    expect_shape(solve_q, "solve_q", {-1, 3});
    expect_shape(begin, "begin", {solve_q.shape(0) + 1});
    const py::ssize_t n_points = point.size();
    expect_shape(point, "point", {n_points});
    expect_shape(negated, "negated", {n_points});
    expect_shape(point_q, "point_q", {n_points, 2});
    expect_shape(grid, "grid", {-1});
    expect_shape(pixel_edges, "pixel_edges", {-1});
    expect_shape(blocks, "blocks", {-1, 6});
    expect_shape(block_bins, "block_bins", {blocks.shape(0), 2});
    expect_shape(bins, "bins", {-1, 2});
    expect_shape(form_factor, "form_factor", {-1});
    if (begin.data()[0] != 0 || begin.data()[solve_q.shape(0)] != n_points) fail("begin must run from 0 to the points");
    for (py::ssize_t p = 0; p < n_points; ++p)
        if (point.data()[p] < 0 || point.data()[p] >= grid.size() * grid.size()) fail("a point lies outside the grid");
    if (grid.size() < 2 || pixel_edges.size() < 2 || form_factor.size() < 2) fail("a grid needs two points at least");
    OwnedGeometry owned{reciprocal,  solve_q, point_q, grid,    pixel_edges, bins,
                        form_factor, begin,   point,   negated, {},          {}};
    for (py::ssize_t b = 0; b < blocks.shape(0); ++b) {
        const double* v = blocks.data() + 6 * b;
        const std::int64_t first = block_bins.data()[2 * b], count = block_bins.data()[2 * b + 1];
        if (first < 0 || count < 1 || first + count > bins.shape(0))
            fail("a block refers to a bin that does not exist");
        owned.blocks.push_back({v[0], v[1], {v[2], v[3], v[4]}, v[5], first, count});
    }
    ImageGeometry& view = owned.view;
    view.reciprocal = Eigen::Map<const Eigen::Matrix<double, 3, 3, Eigen::RowMajor>>(reciprocal.data());
    view.n_solve = solve_q.shape(0);
    view.solve_q = solve_q.data();
    view.begin = begin.data();
    view.point = point.data();
    view.negated = negated.data();
    view.point_q = point_q.data();
    view.n_grid = grid.size();
    view.grid = grid.data();
    view.n_pixel = pixel_edges.size() - 1;
    view.pixel_edges = pixel_edges.data();
    view.n_block = blocks.shape(0);
    view.n_bins = bins.shape(0);
    view.bins = bins.data();
    view.n_form_factor = form_factor.size();
    view.form_factor_step = form_factor_step;
    view.form_factor = form_factor.data();
    return owned;
}

py::tuple simulate(const OwnedGeometry& geometry, const Model& model, const Reals& parameters, const Reals& settings,
                   int threads) {
    expect_shape(parameters, "parameters", {-1, model.n_parameters()});
    const py::ssize_t sets = parameters.shape(0);
    expect_shape(settings, "settings", {sets, 6});
    ImageGeometry view = geometry.view;
    view.blocks = geometry.blocks.data();
    std::vector<ImageSettings> list;
    for (py::ssize_t s = 0; s < sets; ++s) {
        const double* v = settings.data() + 6 * s;
        list.push_back({v[0], v[1], v[2], v[3], v[4], v[5]});
    }
    Reals image({sets, py::ssize_t{view.n_bins}, py::ssize_t{view.n_pixel}, py::ssize_t{view.n_pixel}});
    Reals lowest({sets});
    double *out = image.mutable_data(), *low = lowest.mutable_data();
    {
        const py::gil_scoped_release release;
        simulate_images(model, view, sets, parameters.data(), list.data(), threads, out, low);
    }
    return py::make_tuple(image, lowest);
}

}  // namespace

void bind_image(py::module_& module) {
    using namespace py::literals;
    py::class_<OwnedGeometry>(module, "ImageGeometry", "Where an image samples S(Q, E).")
        .def(py::init(&make_geometry), "reciprocal"_a.noconvert(), "solve_q"_a.noconvert(), "begin"_a.noconvert(),
             "point"_a.noconvert(), "negated"_a.noconvert(), "point_q"_a.noconvert(), "grid"_a.noconvert(),
             "pixel_edges"_a.noconvert(), "blocks"_a.noconvert(), "block_bins"_a.noconvert(), "bins"_a.noconvert(),
             "form_factor"_a.noconvert(), "form_factor_step"_a)
        .def("simulate", &simulate, "model"_a, "parameters"_a.noconvert(), "settings"_a.noconvert(), "threads"_a,
             "Images and instabilities for every parameter set.");
}

}  // namespace insdl::bindings
