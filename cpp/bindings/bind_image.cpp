#include "arrays.hpp"
#include "compiled_model.hpp"
#include "counting_arrays.hpp"
#include "insdl/image.hpp"

namespace insdl::bindings {
namespace {

using Reals = Array<double>;
using Places = Array<std::int32_t>;

// A compiled image with the arrays that it looks at.
struct CompiledImage {
    py::object owner;  // the Python object of the model
    const CompiledModel* model;
    Reals solve_q, shift, grid, pixel_edges, bins, form_factor;
    Places plus, minus;
    std::vector<ImageBlock> blocks;
    ImageGeometry geometry;
    std::unique_ptr<ImagePlan> plan;
};

std::unique_ptr<CompiledImage> make_image(const py::object& model, const Reals& solve_q, const Reals& shift,
                                          const Places& plus, const Places& minus, const Reals& grid, bool mirrored,
                                          bool exchanged, const Reals& pixel_edges, const Reals& blocks,
                                          const Array<std::int64_t>& block_bins, const Reals& bins,
                                          const Reals& form_factor, double form_factor_step, bool kf_over_ki) {
    expect_shape(solve_q, "solve_q", {-1, 2});
    expect_shape(shift, "shift", {-1, 2});
    expect_shape(grid, "grid", {-1});
    expect_shape(pixel_edges, "pixel_edges", {-1});
    expect_shape(blocks, "blocks", {-1, 7});
    expect_shape(block_bins, "block_bins", {blocks.shape(0), 2});
    expect_shape(bins, "bins", {-1, 2});
    expect_shape(form_factor, "form_factor", {-1});
    check_places(plus, "plus", shift.shape(0), solve_q.shape(0), grid.size() * grid.size());
    check_places(minus, "minus", shift.shape(0), solve_q.shape(0), grid.size() * grid.size());
    if (grid.size() < 2 || pixel_edges.size() < 2 || form_factor.size() < 2) fail("a grid needs two points at least");
    auto image = std::make_unique<CompiledImage>(CompiledImage{model,
                                                               &model.cast<const CompiledModel&>(),
                                                               solve_q,
                                                               shift,
                                                               grid,
                                                               pixel_edges,
                                                               bins,
                                                               form_factor,
                                                               plus,
                                                               minus,
                                                               {},
                                                               {},
                                                               nullptr});
    for (py::ssize_t b = 0; b < blocks.shape(0); ++b) {
        const double* v = blocks.data() + 7 * b;
        const std::int64_t first = block_bins.data()[2 * b], count = block_bins.data()[2 * b + 1];
        if (first < 0 || count < 1 || first + count > bins.shape(0))
            fail("a block refers to a bin that does not exist");
        image->blocks.push_back({v[0],
                                 v[1],
                                 {v[2], v[3], v[4]},
                                 v[5],
                                 static_cast<std::int32_t>(first),
                                 static_cast<std::int32_t>(count),
                                 v[6]});
    }
    image->geometry = {solve_q.shape(0),
                       solve_q.data(),
                       shift.shape(0),
                       shift.data(),
                       plus.data(),
                       minus.data(),
                       grid.size(),
                       grid.data(),
                       mirrored,
                       exchanged,
                       pixel_edges.size() - 1,
                       pixel_edges.data(),
                       blocks.shape(0),
                       image->blocks.data(),
                       bins.shape(0),
                       bins.data(),
                       form_factor.size(),
                       form_factor_step,
                       form_factor.data(),
                       kf_over_ki};
    image->plan = std::make_unique<ImagePlan>(image->model->model, image->model->plan, image->geometry);
    return image;
}

// image: float64 or float32 (n_sets, n_bins, n_pixel, n_pixel), written to; settings: (n_sets, 9); counting: or None.
Reals simulate(const CompiledImage& image, const Reals& parameters, const Reals& settings, py::array& out,
               const CountingArrays* counting, int threads) {
    const Model& model = image.model->model;
    expect_shape(parameters, "parameters", {-1, model.n_parameters()});
    const py::ssize_t sets = parameters.shape(0), pixels = image.geometry.n_pixel;
    expect_shape(settings, "settings", {sets, 9});
    const bool single = py::isinstance<Array<float>>(out);
    if (single)
        expect_shape(out.cast<Array<float>>(), "out", {sets, py::ssize_t{image.geometry.n_bins}, pixels, pixels});
    else if (py::isinstance<Reals>(out))
        expect_shape(out.cast<Reals>(), "out", {sets, py::ssize_t{image.geometry.n_bins}, pixels, pixels});
    else
        fail("out must be a C-contiguous array of float64 or float32");
    std::vector<ImageSettings> list;
    for (py::ssize_t s = 0; s < sets; ++s) {
        const double* v = settings.data() + 9 * s;
        list.push_back({v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7], v[8]});
    }
    Reals lowest({sets});
    Array<float> sigmas;
    CountingInput input{};
    if (counting) input = counting->checked(sets, py::ssize_t{image.geometry.n_bins}, pixels * pixels, sigmas);
    const ImageOutput output{out.mutable_data(), single ? Precision::kSingle : Precision::kDouble,
                             lowest.mutable_data(), counting ? &input : nullptr};
    {
        const py::gil_scoped_release release;
        image.plan->simulate(model, sets, parameters.data(), list.data(), threads, output);
    }
    return lowest;
}

}  // namespace

void bind_image(py::module_& module) {
    using namespace py::literals;
    py::class_<CompiledImage>(module, "Image", "A model seen through a frame, worked out once.")
        .def(py::init(&make_image), "model"_a, "solve_q"_a.noconvert(), "shift"_a.noconvert(), "plus"_a.noconvert(),
             "minus"_a.noconvert(), "grid"_a.noconvert(), "mirrored"_a, "exchanged"_a, "pixel_edges"_a.noconvert(),
             "blocks"_a.noconvert(), "block_bins"_a.noconvert(), "bins"_a.noconvert(), "form_factor"_a.noconvert(),
             "form_factor_step"_a, "kf_over_ki"_a)
        .def("simulate", &simulate, "parameters"_a.noconvert(), "settings"_a.noconvert(), "out"_a.noconvert(),
             "counting"_a, "threads"_a, "Fills images; instabilities for every parameter set.");
}

}  // namespace insdl::bindings
