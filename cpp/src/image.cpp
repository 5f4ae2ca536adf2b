// Images: what depends on the model and the frame alone is worked out once; the lanes fill the points, the momentum
// resolution turns points into pixels. Many images: one a thread. Few: all threads on each.
#include "insdl/image.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "careful.hpp"
#include "dispatch.hpp"
#include "insdl/error.hpp"
#include "insdl/parallel.hpp"
#include "plan.hpp"
#include "stencil.hpp"
#include "workspace.hpp"

namespace insdl {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kNeverSeen = -1e6;  // meV; the energy of a mode that no bin reaches

// A zero mode whose weight diverges has no finite intensity: the amplitude that the solver reports is cut off by its
// regularisation, and would shine through every Gaussian tail. (A ferromagnet's zero mode has x and p alike and stays.)
bool diverges(const CarefulModes& modes, Eigen::Index m) {
    if (modes.energy(m) > 0.0) return false;
    const double x = modes.x.col(m).norm(), p = modes.p.col(m).norm();
    return std::max(x, p) > 1e2 * std::min(x, p);
}

}  // namespace

struct ImagePlan::Compiled {
    ImageView view{};
    const FormPlan* form = nullptr;
    std::vector<double> layer_turns, row_directions, row_parity;
    std::vector<std::int32_t> first_term;
    std::vector<ShiftTerm> terms;

    std::vector<std::ptrdiff_t> find_layers(const Model& model);
    void find_terms(const Model& model, const FormPlan& plan, const ImageGeometry& geometry);
};

// Sites of equal height share the phase exp(-2 pi i L z). Returns the layer of each site.
std::vector<std::ptrdiff_t> ImagePlan::Compiled::find_layers(const Model& model) {
    std::vector<double> heights;
    std::vector<std::ptrdiff_t> of_site;
    for (const Site& site : model.sites()) {
        std::size_t l = 0;
        while (l < heights.size() && std::abs(heights[l] - site.position.z()) > 1e-9) ++l;
        if (l == heights.size()) heights.push_back(site.position.z());
        of_site.push_back(static_cast<std::ptrdiff_t>(l));
    }
    for (const double height : heights) layer_turns.push_back((height - heights[0]) / view.c_star);
    return of_site;
}

// Row r of layer l at q + G: sum over the layer's sites of sqrt(S_i) (d_r.e_i) exp(-2 pi i G.u_i) times the basis. What
// is left out, exp(-2 pi i q.(r_i - u_i)), is the same for all sites of a layer.
void ImagePlan::Compiled::find_terms(const Model& model, const FormPlan& plan, const ImageGeometry& geometry) {
    const FormView& form = plan.view();
    const auto of_site = find_layers(model);
    const auto layers = static_cast<std::int32_t>(layer_turns.size());
    for (const auto* directions : {&plan.x_directions(), &plan.p_directions()})
        for (const Vector3& direction : *directions) {
            row_directions.insert(row_directions.end(), direction.data(), direction.data() + 3);
            row_parity.push_back(directions == &plan.x_directions() ? 1.0 : -1.0);
        }
    const auto n_rows = static_cast<std::int32_t>(row_parity.size());
    for (std::ptrdiff_t g = 0; g < geometry.n_shift; ++g) {
        const Vector3 shift = model.q_to_magnetic() * Vector3(geometry.shift[2 * g], geometry.shift[2 * g + 1], 0.0);
        for (std::int32_t layer = 0; layer < layers; ++layer)
            for (std::int32_t r = 0; r < n_rows; ++r) {
                first_term.push_back(static_cast<std::int32_t>(terms.size()));
                const Vector3 direction = Eigen::Map<const Vector3>(row_directions.data() + 3 * r);
                std::vector<Complex> row(static_cast<std::size_t>(form.n), 0.0);
                for (std::ptrdiff_t i = 0; i < model.size(); ++i) {
                    if (of_site[static_cast<std::size_t>(i)] != layer) continue;
                    const Site& site = model.sites()[static_cast<std::size_t>(i)];
                    const Frame& frame = model.frames()[static_cast<std::size_t>(i)];
                    const bool along_x = row_parity[static_cast<std::size_t>(r)] > 0.0;
                    const double part =
                        std::sqrt(site.spin) * direction.dot(site.moment * (along_x ? frame.e1 : frame.e2));
                    const Vector3& u = plan.basis().position[static_cast<std::size_t>(i)];
                    const Complex phase = std::polar(1.0, -kTwoPi * (shift.x() * u.x() + shift.y() * u.y()));
                    for (const BasisTerm& term : plan.basis().of_site[static_cast<std::size_t>(i)])
                        row[static_cast<std::size_t>(term.column)] +=
                            (along_x ? Complex(1.0) : Complex(0.0, -1.0)) * part * phase * term.weight;
                }
                for (std::size_t k = 0; k < row.size(); ++k)
                    if (std::abs(row[k]) > 1e-12)
                        terms.push_back({static_cast<std::int32_t>(k), row[k].real(), row[k].imag()});
            }
    }
    first_term.push_back(static_cast<std::int32_t>(terms.size()));
}

ImagePlan::ImagePlan(const Model& model, const SpinwavePlan& plan, const ImageGeometry& geometry)
    : compiled_(std::make_unique<Compiled>()) {
    if (!model.is_layered())
        fail("an image needs a layered model: a bond couples magnetic cells along c, so energies depend on L");
    if (!model.is_split()) fail("an image needs a model in split form (collinear, or coplanar without mixed terms)");
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
    view.pixel_edges = geometry.pixel_edges;
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
    compiled_->form = &plan.form(Form::kAutomatic);
    compiled_->find_terms(model, *compiled_->form, geometry);
    view.n_layers = static_cast<std::int32_t>(compiled_->layer_turns.size());
    view.n_rows = static_cast<std::int32_t>(compiled_->row_parity.size());
    view.layer_turns = compiled_->layer_turns.data();
    view.row_directions = compiled_->row_directions.data();
    view.row_parity = compiled_->row_parity.data();
    view.first_term = compiled_->first_term.data();
    view.terms = compiled_->terms.data();
}

ImagePlan::~ImagePlan() = default;

namespace {

// What one thread works with; `lowest` collects the instability of the image at hand.
struct Worker {
    Workspace lanes, pixels;
    CarefulModes modes;
    double lowest = kNan;
    const FormView* form = nullptr;
    const ImageView* image = nullptr;
    const double* values = nullptr;

    static bool careful(void* context, std::ptrdiff_t solve, double* energy, double* x, double* p) {
        auto& worker = *static_cast<Worker*>(context);
        const double q[3] = {worker.image->solve_q[2 * solve], worker.image->solve_q[2 * solve + 1], 0.0};
        CarefulModes& modes = worker.modes;
        solve_carefully(*worker.form, worker.values, q, modes);
        if (!modes.stable) {
            if (!(worker.lowest < modes.lowest)) worker.lowest = modes.lowest;
            return false;
        }
        const Eigen::Index n = worker.form->n;
        for (Eigen::Index m = 0; m < n; ++m) energy[m] = diverges(modes, m) ? kNeverSeen : modes.energy(m);
        for (Eigen::Index k = 0; k < n; ++k)
            for (Eigen::Index m = 0; m < n; ++m) {
                *x++ = modes.x(k, m).real();
                *p++ = modes.p(k, m).real();
                if (!worker.form->is_complex) continue;
                *x++ = modes.x(k, m).imag();
                *p++ = modes.p(k, m).imag();
            }
        return true;
    }
};

// What one image needs while it is made.
struct Canvas {
    std::vector<double> points;  // (h, k, bin)
    std::vector<double> values;
    StencilCache stencils;
};

void fill_points(const ImageView& image, const FormPlan& form, const ImageSettings& settings, int threads,
                 Worker* workers, Canvas& canvas) {
    const Kernel& kernel = lane_kernel(false);
    const std::ptrdiff_t width = kernel.width, block = width * (threads == 1 ? 64 : 2);
    const std::size_t size = kernel.image_workspace(&form.view(), &image);
    parallel_blocks(image.n_solve, block, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int thread) {
        Worker& worker = workers[thread];
        worker.form = &form.view();
        worker.image = &image;
        worker.values = canvas.values.data();
        const ImageTask task{
            &form.view(),     &image,  canvas.values.data(),  &settings, begin, end, canvas.points.data(),
            &Worker::careful, &worker, worker.lanes.get(size)};
        kernel.image_points(&task);
    });
}

void fill_pixels(const ImageView& image, const ImageSettings& settings, int threads, Worker* workers, Canvas& canvas,
                 double* out) {
    const Kernel& kernel = lane_kernel(false);
    const std::size_t size = kernel.pixel_workspace(&image);
    canvas.stencils.prepare(image, settings);
    const double twin = settings.twin_fraction;
    parallel_blocks(image.n_block, 1, threads, [&](std::ptrdiff_t b, std::ptrdiff_t, int thread) {
        const ImageBlock& block = image.blocks[b];
        const StencilView along_h = canvas.stencils.along_h(b), along_k = canvas.stencils.along_k(b);
        PixelTask task{&image,
                       block.first_bin,
                       block.n_bins,
                       along_h,
                       along_k,
                       canvas.points.data(),
                       1.0 - twin,
                       0.0,
                       false,
                       out,
                       workers[thread].pixels.get(size)};
        if (settings.shift_h == settings.shift_k) {  // the other domain's image is this one's, h and k exchanged
            task.twin = twin;
            kernel.image_pixels(&task);
            return;
        }
        if (twin < 1.0) kernel.image_pixels(&task);
        // The other domain: points with h and k exchanged, in the same measured frame.
        task.along_h = along_k;
        task.along_k = along_h;
        task.factor = twin;
        task.transposed = true;
        if (twin > 0.0) kernel.image_pixels(&task);
    });
}

}  // namespace

void ImagePlan::simulate(const Model& model, std::ptrdiff_t n_sets, const double* parameters,
                         const ImageSettings* settings, int threads, double* image, double* lowest) const {
    const ImageView& view = compiled_->view;
    const FormPlan& form = *compiled_->form;
    const int team = usable_threads(threads);
    const bool one_a_thread = n_sets >= team;
    std::vector<Worker> workers(static_cast<std::size_t>(team));
    std::vector<Canvas> canvases(one_a_thread ? static_cast<std::size_t>(team) : 1);
    const std::ptrdiff_t size = view.n_bins * view.n_pixel * view.n_pixel;
    parallel_blocks(n_sets, 1, one_a_thread ? threads : 1, [&](std::ptrdiff_t set, std::ptrdiff_t, int thread) {
        Canvas& canvas = canvases[static_cast<std::size_t>(thread)];
        Worker* team_of_image = workers.data() + (one_a_thread ? thread : 0);
        const int inner = one_a_thread ? 1 : threads;
        canvas.points.resize(static_cast<std::size_t>(view.n_grid * view.n_grid * view.n_bins));
        canvas.values.resize(form.n_values());
        form.evaluate(parameters + set * model.n_parameters(), canvas.values.data());
        for (int t = 0; t < (one_a_thread ? 1 : team); ++t) team_of_image[t].lowest = kNan;
        fill_points(view, form, settings[set], inner, team_of_image, canvas);
        lowest[set] = kNan;
        for (int t = 0; t < (one_a_thread ? 1 : team); ++t)
            if (!(lowest[set] < team_of_image[t].lowest) && !std::isnan(team_of_image[t].lowest))
                lowest[set] = team_of_image[t].lowest;
        std::fill_n(image + set * size, size, 0.0);
        if (std::isnan(lowest[set])) fill_pixels(view, settings[set], inner, team_of_image, canvas, image + set * size);
    });
}

}  // namespace insdl
