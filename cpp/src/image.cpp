// Images: what depends on the model and the frame alone is worked out once; the lanes fill the points, the momentum
// resolution turns points into pixels. Many images: one a thread. Few: all threads on each.
#include "insdl/image.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "careful_lanes.hpp"
#include "dispatch.hpp"
#include "insdl/error.hpp"
#include "insdl/parallel.hpp"
#include "mosaic.hpp"
#include "shift_rows.hpp"
#include "stencil.hpp"
#include "workspace.hpp"

namespace insdl {
namespace {

// Sites of equal height share the phase exp(-2 pi i L z). Returns the layer of each site; turns: of each layer relative
// to the first, per 1/angstrom of Qz.
std::vector<std::ptrdiff_t> find_layers(const Model& model, double c_star, std::vector<double>& turns) {
    std::vector<double> heights;
    std::vector<std::ptrdiff_t> of_site;
    for (const Site& site : model.sites()) {
        std::size_t l = 0;
        while (l < heights.size() && std::abs(heights[l] - site.position.z()) > 1e-9) ++l;
        if (l == heights.size()) heights.push_back(site.position.z());
        of_site.push_back(static_cast<std::ptrdiff_t>(l));
    }
    for (const double height : heights) turns.push_back((height - heights[0]) / c_star);
    return of_site;
}

// Reciprocal vectors of the plane in three dimensions.
std::vector<double> upright(std::ptrdiff_t n_shift, const double* shift) {
    std::vector<double> result;
    for (std::ptrdiff_t g = 0; g < n_shift; ++g) result.insert(result.end(), {shift[2 * g], shift[2 * g + 1], 0.0});
    return result;
}

// Steps of the grid in a pixel; fails where they are not whole or not the same for all pixels.
std::ptrdiff_t steps_per_pixel(const ImageView& image) {
    const double step = grid_step(image);
    const std::ptrdiff_t steps = std::lround((image.pixel_edges[1] - image.pixel_edges[0]) / step);
    for (std::ptrdiff_t pixel = 0; pixel < image.n_pixel; ++pixel) {
        const double width = image.pixel_edges[pixel + 1] - image.pixel_edges[pixel];
        if (steps < 1 || std::abs(width - static_cast<double>(steps) * step) > 1e-6 * step)
            fail("every pixel must be the same whole number of steps of the grid wide; pixel " + std::to_string(pixel) +
                 " is " + std::to_string(width / step) + " steps wide");
    }
    return steps;
}

}  // namespace

struct ImagePlan::Compiled {
    Compiled(const Model& model, const FormPlan& plan, const ImageGeometry& geometry)
        : form(plan),
          rows(model, plan, find_layers(model, model.reciprocal().row(2).norm(), layer_turns), geometry.n_shift,
               upright(geometry.n_shift, geometry.shift).data(), 1.0) {}
    const FormPlan& form;
    std::vector<double> layer_turns;
    std::vector<std::int32_t> first_derivative;
    ShiftRowsPlan rows;
    ImageView view{};
    bool exchanged = false;
};

ImagePlan::ImagePlan(const Model& model, const SpinwavePlan& plan, const ImageGeometry& geometry) {
    if (!model.is_layered())
        fail("an image needs a layered model: a bond couples magnetic cells along c, so energies depend on L");
    if (!model.is_split()) fail("an image needs a model in split form (collinear, or coplanar without mixed terms)");
    compiled_ = std::make_unique<Compiled>(model, plan.form(Form::kAutomatic), geometry);
    ImageView& view = compiled_->view;
    view.n_solve = geometry.n_solve;
    view.n_shift = geometry.n_shift;
    view.n_grid = geometry.n_grid;
    view.n_block = geometry.n_block;
    view.n_bins = geometry.n_bins;
    view.n_pixel = geometry.n_pixel;
    view.solve_q = geometry.solve_q;
    view.shift = geometry.shift;
    view.plus = geometry.plus;
    view.minus = geometry.minus;
    view.blocks = geometry.blocks;
    view.bins = geometry.bins;
    view.grid = geometry.grid;
    view.mirrored = geometry.mirrored;
    compiled_->exchanged = geometry.exchanged;
    view.pixel_edges = geometry.pixel_edges;
    view.steps_per_pixel = steps_per_pixel(view);
    for (int a = 0; a < 3; ++a) {
        view.in_plane[0][a] = model.reciprocal()(0, a);
        view.in_plane[1][a] = model.reciprocal()(1, a);
        view.c_unit[a] = model.reciprocal()(2, a);
    }
    view.c_star = model.reciprocal().row(2).norm();
    for (double& component : view.c_unit) component /= view.c_star;
    view.n_form_factor = geometry.n_form_factor;
    view.form_factor_scale = 1.0 / geometry.form_factor_step;
    view.form_factor = geometry.form_factor;
    view.kf_over_ki = geometry.kf_over_ki;
    view.n_values = geometry.n_bins;
    for (std::ptrdiff_t b = 0; b < geometry.n_block; ++b) {
        const bool coupled = geometry.blocks[b].energy_slope != 0.0;
        compiled_->first_derivative.push_back(static_cast<std::int32_t>(view.n_values));  // few bins
        if (coupled) view.n_values += 2 * geometry.blocks[b].n_bins;
    }
    view.first_derivative = compiled_->first_derivative.data();
    view.rows = compiled_->rows.view();
    view.layer_turns = compiled_->layer_turns.data();
}

ImagePlan::~ImagePlan() = default;

namespace {

constexpr std::ptrdiff_t kPadding = 64;  // read, not used, by the last vector of bins

// What one thread works with.
struct Worker {
    Workspace lanes, pixels;
    CarefulLanes careful;
    TurnedWeights turned;
};

// What one image needs while it is made.
struct Canvas {
    std::vector<double> points;  // (h, k, value)
    std::vector<double> values;
    std::vector<float> expected;  // what is counted
    StencilCache stencils;
    std::vector<double> q_h, q_k;  // Q of the pixels that the stencils have
};

void fill_points(const ImageView& image, const FormPlan& form, const ImageSettings& settings, int threads,
                 Worker* workers, Canvas& canvas) {
    const Kernel& kernel = lane_kernel(false);
    const std::ptrdiff_t width = kernel.width, block = width * (threads == 1 ? 64 : 2);
    const std::size_t size = kernel.image_workspace(&form.view(), &image);
    parallel_blocks(image.n_solve, block, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int thread) {
        Worker& worker = workers[thread];
        worker.careful.form = &form.view();
        worker.careful.values = canvas.values.data();
        worker.careful.q = image.solve_q;
        worker.careful.stride = 2;
        worker.careful.hides_diverging = true;
        const ImageTask task{
            &form.view(),         &image,          canvas.values.data(),  &settings, begin, end, canvas.points.data(),
            &CarefulLanes::solve, &worker.careful, worker.lanes.get(size)};
        kernel.image_points(&task);
    });
}

// The same for a sample with mosaic: a sum over angles.
void fill_turned(const ImageView& image, const ImageSettings& settings, Worker& worker, std::ptrdiff_t b,
                 double shift_h, double shift_k, PixelTask task) {
    const TurnedKernel& kernel = turned_kernel();
    const double sigma = std::hypot(image.blocks[b].sigma_q, settings.extra_sigma_q);
    const std::size_t size = kernel.sums_size(&task);
    auto* const sums = static_cast<double*>(worker.pixels.get(size * sizeof(double)));
    std::fill_n(sums, size, 0.0);
    for (const Turn& turn : mosaic_turns(image, settings, sigma)) {
        worker.turned.prepare(image, turn, sigma, shift_h, shift_k, task.along_k.n_pixel);
        const TurnedStencil stencil = worker.turned.view();
        kernel.gather(&task, &stencil, sums);
    }
    kernel.put(&task, sums);
}

// Points (h, k > h) from (k, h).
void exchange(const ImageView& image, double* points) {
    const std::ptrdiff_t n = image.n_grid, bins = image.n_values;
    for (std::ptrdiff_t h = 0; h < n; ++h)
        for (std::ptrdiff_t k = h + 1; k < n; ++k)
            for (std::ptrdiff_t b = 0; b < bins; ++b)  // few bins: a call of memmove would take longer
                points[(h * n + k) * bins + b] = points[(k * n + h) * bins + b];
}

void fill_pixels(const ImageView& image, const ImageSettings& settings, int threads, Worker* workers, Canvas& canvas,
                 Precision precision, bool quarter, void* out) {
    const Kernel& kernel = lane_kernel(false);
    const std::size_t size = kernel.pixel_workspace(&image);
    canvas.stencils.prepare(image, settings);
    const double twin = settings.twin_fraction;
    const std::ptrdiff_t n_pixel = canvas.stencils.along_h(0).n_pixel;
    canvas.q_h.clear();
    canvas.q_k.clear();
    for (std::ptrdiff_t pixel = image.n_pixel - n_pixel; pixel < image.n_pixel; ++pixel) {
        const double middle = 0.5 * (image.pixel_edges[pixel] + image.pixel_edges[pixel + 1]);
        canvas.q_h.push_back(middle + settings.shift_h);
        canvas.q_k.push_back(middle + settings.shift_k);
    }
    parallel_blocks(image.n_block, 1, threads, [&](std::ptrdiff_t b, std::ptrdiff_t, int thread) {
        const ImageBlock& block = image.blocks[b];
        const StencilView along_h = canvas.stencils.along_h(b), along_k = canvas.stencils.along_k(b);
        PixelTask task{&image,       block.first_bin,
                       block.n_bins, along_h,
                       along_k,      canvas.points.data(),
                       1.0 - twin,   twin,
                       false,        precision == Precision::kSingle,
                       out,          workers[thread].pixels.get(size)};
        task.quarter = quarter;
        task.coupling = block.energy_slope * block.sigma_q * block.sigma_q * settings.width_factor;
        task.first_derivative = image.first_derivative[b];
        task.slope_h = canvas.stencils.along_h(b, Derivative::kFirst);
        task.slope_k = canvas.stencils.along_k(b, Derivative::kFirst);
        task.curvature_h = canvas.stencils.along_h(b, Derivative::kSecond);
        task.curvature_k = canvas.stencils.along_k(b, Derivative::kSecond);
        task.q_h = canvas.q_h.data();
        task.q_k = canvas.q_k.data();
        const auto fill = [&](double shift_h, double shift_k) {
            if (settings.mosaic > 0.0)
                fill_turned(image, settings, workers[thread], b, shift_h, shift_k, task);
            else
                kernel.image_pixels(&task);
        };
        if (twin == 0.0 || settings.shift_h == settings.shift_k) {
            fill(settings.shift_h, settings.shift_k);
            return;
        }
        task.there = 0.0;
        fill(settings.shift_h, settings.shift_k);
        // The other domain: points with h and k exchanged, in the same measured frame.
        task.along_h = along_k;
        task.along_k = along_h;
        std::swap(task.slope_h, task.slope_k);
        std::swap(task.curvature_h, task.curvature_k);
        std::swap(task.q_h, task.q_k);
        task.here = 0.0;
        task.there = twin;
        task.add = true;
        fill(settings.shift_k, settings.shift_h);
    });
}

}  // namespace

void ImagePlan::simulate(const Model& model, std::ptrdiff_t n_sets, const double* parameters,
                         const ImageSettings* settings, int threads, const ImageOutput& output) const {
    const ImageView& view = compiled_->view;
    const FormPlan& form = compiled_->form;
    if (view.n_values > view.n_bins &&
        std::any_of(settings, settings + n_sets, [](const ImageSettings& s) { return s.mosaic > 0.0; }))
        fail("a resolution that couples energy and momentum cannot be had with a mosaic");
    if (output.counting && output.precision != Precision::kSingle) fail("counts are written as float32 only");
    const int team = usable_threads(threads);
    const bool one_a_thread = n_sets >= team;
    std::vector<Worker> workers(static_cast<std::size_t>(team));
    std::vector<Canvas> canvases(one_a_thread ? static_cast<std::size_t>(team) : 1);
    const std::size_t number = output.precision == Precision::kSingle ? sizeof(float) : sizeof(double);
    const std::ptrdiff_t size =
        view.n_bins * view.n_pixel * view.n_pixel * static_cast<std::ptrdiff_t>(number);  // bytes
    Uncountable uncountable;
    parallel_blocks(n_sets, 1, one_a_thread ? threads : 1, [&](std::ptrdiff_t set, std::ptrdiff_t, int thread) {
        Canvas& canvas = canvases[static_cast<std::size_t>(thread)];
        Worker* team_of_image = workers.data() + (one_a_thread ? thread : 0);
        const int inner = one_a_thread ? 1 : threads;
        canvas.points.resize(static_cast<std::size_t>(view.n_grid * view.n_grid * view.n_values + kPadding));
        canvas.values.resize(form.n_values());
        form.evaluate(parameters + set * model.n_parameters(), canvas.values.data());
        const int used = one_a_thread ? 1 : team;
        for (int t = 0; t < used; ++t) team_of_image[t].careful.worst = {};
        fill_points(view, form, settings[set], inner, team_of_image, canvas);
        Worst worst;
        for (int t = 0; t < used; ++t) {
            const Worst& found = team_of_image[t].careful.worst;
            if (found.at_q >= 0) worst.note(found.lowest, found.at_q);
        }
        output.lowest[set] = worst.lowest;
        if (compiled_->exchanged) exchange(view, canvas.points.data());
        char* image = static_cast<char*>(output.image) + set * size;
        if (worst.at_q >= 0) {
            std::fill_n(image, size, char{0});
        } else if (output.counting) {
            const std::ptrdiff_t pixels = view.n_bins * view.n_pixel * view.n_pixel;
            canvas.expected.resize(static_cast<std::size_t>(pixels));
            const std::ptrdiff_t mirrored_row = is_symmetric(view, settings[set]) ? view.n_pixel : 0;
            fill_pixels(view, settings[set], inner, team_of_image, canvas, output.precision,
                        mirrored_row == kQuarterRow, canvas.expected.data());
            count_image(*output.counting, set, canvas.expected.data(), static_cast<float*>(output.image) + set * pixels,
                        mirrored_row, uncountable);
        } else {
            fill_pixels(view, settings[set], inner, team_of_image, canvas, output.precision, false, image);
        }
    });
    if (output.counting) uncountable.check(*output.counting);
}

}  // namespace insdl
