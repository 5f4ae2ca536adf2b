// Modes into pixels: solve each distinct q once, re-phase it for every equivalent point of the grid, take each mode at
// the Q where the spectrometer sees its energy, integrate over energy bins and pixels.
#include "insdl/image.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

#include "insdl/error.hpp"
#include "insdl/parallel.hpp"
#include "kernel.hpp"

namespace insdl {
namespace {

constexpr double kTwoPi = 2.0 * std::numbers::pi;
constexpr double kReach = 4.5;           // Gaussian tails beyond this many sigma are dropped (7e-6 of the weight)
constexpr double kNeutronMass = 2.0721;  // E / k^2 of a neutron, meV angstrom^2
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Gaussian integral from a to b around zero.
double gaussian_integral(double a, double b, double sigma) {
    const double root = std::numbers::sqrt2 * sigma;
    return 0.5 * (std::erf(b / root) - std::erf(a / root));
}

// Sites of equal height z share the phase exp(-2 pi i L z).
struct Layers {
    std::vector<double> height;
    std::vector<std::ptrdiff_t> of_site;
};

Layers find_layers(const Model& model) {
    Layers layers;
    for (const Site& site : model.sites()) {
        std::size_t l = 0;
        while (l < layers.height.size() && std::abs(layers.height[l] - site.position.z()) > 1e-9) ++l;
        if (l == layers.height.size()) layers.height.push_back(site.position.z());
        layers.of_site.push_back(static_cast<std::ptrdiff_t>(l));  // a handful of layers
    }
    return layers;
}

// Modes seen in blocks: which bins each reaches, and with what weight per meV. One entry a (mode, block).
struct Sightings {
    std::vector<std::ptrdiff_t> mode, first_bin, n_bins, first_weight;
    std::vector<double> ki, kf2, fixed_l;
    std::vector<char> kinematic;
    std::vector<double> weights;

    std::size_t size() const { return mode.size(); }
    void clear() {
        for (auto* list : {&mode, &first_bin, &n_bins, &first_weight}) list->clear();
        for (auto* list : {&ki, &kf2, &fixed_l, &weights}) list->clear();
        kinematic.clear();
    }
};

// A zero mode whose weight diverges has no finite intensity: the amplitude that the kernel reports is cut off by its
// regularisation, and would shine through every Gaussian tail. (A ferromagnet's zero mode has x and p alike and stays.)
bool diverges(const ModeSet& modes, std::ptrdiff_t m) {
    if (modes.energy(m) > 0.0) return false;
    const double x = modes.x.col(m).norm(), p = modes.p.col(m).norm();
    return std::max(x, p) > 1e2 * std::min(x, p);
}

void find_sightings(const ImageGeometry& geometry, const ImageSettings& settings, const ModeSet& modes,
                    Sightings& sightings) {
    const Eigen::VectorXd& energy = modes.energy;
    sightings.clear();
    for (std::ptrdiff_t b = 0; b < geometry.n_block; ++b) {
        const ImageBlock& block = geometry.blocks[b];
        const bool kinematic = std::isnan(block.fixed_l);
        for (std::ptrdiff_t m = 0; m < energy.size(); ++m) {
            const double e = energy(m);
            if ((kinematic && e >= block.incident_energy) || diverges(modes, m)) continue;
            const double table = settings.width_factor *
                                 (block.sigma_energy[0] + e * (block.sigma_energy[1] + e * block.sigma_energy[2]));
            const double sigma = std::max(std::hypot(table, settings.broadening * e), 1e-6);
            const auto first_weight = static_cast<std::ptrdiff_t>(sightings.weights.size());
            std::ptrdiff_t first = 0, count = 0;
            for (std::ptrdiff_t n = block.first_bin; n < block.first_bin + block.n_bins; ++n) {
                const double low = geometry.bins[2 * n], high = geometry.bins[2 * n + 1];
                const bool reached = e + kReach * sigma > low && e - kReach * sigma < high;
                if (count == 0) {
                    if (!reached) continue;
                    first = n;
                }
                ++count;  // bins need not be ordered: gaps get weight zero
                sightings.weights.push_back(reached ? gaussian_integral(low - e, high - e, sigma) / (high - low) : 0.0);
            }
            while (count > 0 && sightings.weights.back() == 0.0) {
                sightings.weights.pop_back();
                --count;
            }
            if (count == 0) continue;
            sightings.mode.push_back(m);
            sightings.first_bin.push_back(first);
            sightings.n_bins.push_back(count);
            sightings.first_weight.push_back(first_weight);
            sightings.ki.push_back(std::sqrt(block.incident_energy / kNeutronMass));
            sightings.kf2.push_back((block.incident_energy - e) / kNeutronMass);
            sightings.fixed_l.push_back(block.fixed_l);
            sightings.kinematic.push_back(kinematic ? 1 : 0);
        }
    }
}

// Amplitudes per layer and Cartesian component, in-plane phases included, as separate real and imaginary rows over
// modes.
struct Amplitudes {
    Amplitudes(const Model& model, const Layers& layers) : n(model.size()) {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const Site& site = model.sites()[i];
            const Vector3 e1 = site.moment * model.frames()[i].e1, e2 = site.moment * model.frames()[i].e2;
            for (int a = 0; a < 3; ++a) {
                component[a] = component[a] || std::abs(e1[a]) > 1e-12 || std::abs(e2[a]) > 1e-12;
                if (std::abs(e1[a]) > 1e-12)
                    terms.push_back({i, layers.of_site[i] * 3 + a, std::sqrt(site.spin) * e1[a], true});
                if (std::abs(e2[a]) > 1e-12)
                    terms.push_back({i, layers.of_site[i] * 3 + a, std::sqrt(site.spin) * e2[a], false});
            }
        }
        const auto size = layers.height.size() * 3 * static_cast<std::size_t>(n);
        real.resize(size);
        imag.resize(size);
        phases.resize(static_cast<std::size_t>(n));
    }

    struct Term {
        std::ptrdiff_t site, row;
        double factor;
        bool is_x;
    };

    void load(const ModeSet& modes) {
        xr = modes.x.real().transpose();
        xi = modes.x.imag().transpose();
        pr = modes.p.real().transpose();
        pi = modes.p.imag().transpose();
    }

    // At -q the amplitudes are conj(x) and -conj(p): V and T have real coefficients in real space. Conjugating the
    // whole sum turns that into phases of the opposite sign and p of the opposite sign; intensities do not see the
    // conjugation.
    void evaluate(const Model& model, const double* q, bool negated) {
        std::fill(real.begin(), real.end(), 0.0);
        std::fill(imag.begin(), imag.end(), 0.0);
        const double sign = negated ? kTwoPi : -kTwoPi;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const Vector3& r = model.sites()[i].position;
            phases[i] = std::polar(1.0, sign * (q[0] * r.x() + q[1] * r.y()));
        }
        for (const Term& term : terms) {
            const double factor = term.is_x || !negated ? term.factor : -term.factor;
            const double c = factor * phases[term.site].real(), s = factor * phases[term.site].imag();
            const double* zr = (term.is_x ? xr : pr).data() + term.site * n;
            const double* zi = (term.is_x ? xi : pi).data() + term.site * n;
            double* vr = real.data() + term.row * n;
            double* vi = imag.data() + term.row * n;
            for (std::ptrdiff_t m = 0; m < n; ++m) {
                vr[m] += c * zr[m] - s * zi[m];
                vi[m] += c * zi[m] + s * zr[m];
            }
        }
    }

    std::ptrdiff_t n;
    std::vector<Term> terms;
    Eigen::MatrixXd xr, xi, pr, pi;  // (mode, site): one column a site
    std::vector<double> real, imag;  // (layer, component, mode)
    std::vector<Complex> phases;
    bool component[3] = {false, false, false};  // Cartesian components that any site has
};

// sin and cos of 2 pi t. Plain arithmetic that the compiler turns into vectors: half-angle series on |pi t| <= pi/2,
// truncation below 1e-11.
inline void sin_cos_turns(double t, double& sine, double& cosine) {
    constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to the nearest whole number
    const double whole = (t + kRound) - kRound;
    const double x = std::numbers::pi * (t - whole), u = x * x;
    double s = -1.0 / 1307674368000.0, c = -1.0 / 87178291200.0;
    s = s * u + 1.0 / 6227020800.0, c = c * u + 1.0 / 479001600.0;
    s = s * u - 1.0 / 39916800.0, c = c * u - 1.0 / 3628800.0;
    s = s * u + 1.0 / 362880.0, c = c * u + 1.0 / 40320.0;
    s = s * u - 1.0 / 5040.0, c = c * u - 1.0 / 720.0;
    s = s * u + 1.0 / 120.0, c = c * u + 1.0 / 24.0;
    s = s * u - 1.0 / 6.0, c = c * u - 0.5;
    s = x * (s * u + 1.0), c = c * u + 1.0;
    sine = 2.0 * s * c;
    cosine = 1.0 - 2.0 * s * s;
}

// One mode seen in many blocks: the third component of Q, and the intensity there, one entry a sighting.
struct Intensities {
    void resize(std::size_t n) {
        for (auto* row : {&qz, &sine, &cosine, &value}) row->resize(n);
        for (auto& row : re) row.resize(n);
        for (auto& row : im) row.resize(n);
    }
    std::vector<double> qz, sine, cosine, value;
    std::vector<double> re[3], im[3];
};

// Third component of Q, 1/angstrom, for every sighting at one in-plane Q; NaN where no final wave vector reaches it.
void find_l(const Sightings& sightings, double in_plane2, double c_star, Intensities& work) {
    const auto n = sightings.size();
    for (std::size_t s = 0; s < n; ++s) {
        const double along2 = sightings.kf2[s] - in_plane2;
        const double kinematic = sightings.ki[s] - std::sqrt(std::max(along2, 0.0));
        work.qz[s] = sightings.kinematic[s] ? (along2 < 0.0 ? kNan : kinematic) : sightings.fixed_l[s] * c_star;
    }
}

// S_perp F^2 of every sighting: sum over components of |v|^2 - |Q.v|^2 / Q^2, v summed over layers with phases
// exp(-2 pi i L z) relative to the first layer.
void perpendicular_intensities(const Amplitudes& amplitudes, const Layers& layers, const Sightings& sightings,
                               bool negated, const Vector3& in_plane, double c_star, const Vector3& c_unit,
                               const ImageGeometry& geometry, Intensities& work) {
    const auto n = sightings.size();
    const auto modes = amplitudes.n;
    for (std::size_t layer = 0; layer < layers.height.size(); ++layer) {
        const double* real = amplitudes.real.data() + static_cast<std::ptrdiff_t>(layer) * 3 * modes;
        const double* imag = amplitudes.imag.data() + static_cast<std::ptrdiff_t>(layer) * 3 * modes;
        if (layer == 0) {
            for (int a = 0; a < 3; ++a)
                for (std::size_t s = 0; s < n; ++s) {
                    work.re[a][s] = real[a * modes + sightings.mode[s]];
                    work.im[a][s] = imag[a * modes + sightings.mode[s]];
                }
            continue;
        }
        const double height = (layers.height[layer] - layers.height[0]) * (negated ? 1.0 : -1.0) / c_star;
        for (std::size_t s = 0; s < n; ++s) sin_cos_turns(height * work.qz[s], work.sine[s], work.cosine[s]);
        for (int a = 0; a < 3; ++a) {
            if (!amplitudes.component[a]) continue;
            for (std::size_t s = 0; s < n; ++s) {
                const double re = real[a * modes + sightings.mode[s]], im = imag[a * modes + sightings.mode[s]];
                work.re[a][s] += work.cosine[s] * re - work.sine[s] * im;
                work.im[a][s] += work.cosine[s] * im + work.sine[s] * re;
            }
        }
    }
    const double scale = 1.0 / geometry.form_factor_step;
    const double last = static_cast<double>(geometry.n_form_factor - 2);
    for (std::size_t s = 0; s < n; ++s) {
        const Vector3 q = in_plane + work.qz[s] * c_unit;
        const double q2 = q.squaredNorm();
        double total = 0.0, along_r = 0.0, along_i = 0.0;
        for (int a = 0; a < 3; ++a) {
            const double re = work.re[a][s], im = work.im[a][s];
            total += re * re + im * im;
            along_r += q[a] * re;
            along_i += q[a] * im;
        }
        const double perpendicular =
            q2 > 1e-16 ? total - (along_r * along_r + along_i * along_i) / q2 : 2.0 / 3.0 * total;
        const double place = q2 * scale;
        if (!(place >= 0.0)) {  // not reached
            work.value[s] = 0.0;
            continue;
        }
        const auto cell = static_cast<std::ptrdiff_t>(std::min(place, last));
        const double rest = std::min(place - static_cast<double>(cell), 1.0);
        work.value[s] =
            perpendicular * (geometry.form_factor[cell] * (1.0 - rest) + geometry.form_factor[cell + 1] * rest);
    }
}

// Weight of every grid point in every pixel: the pixel-integrated Gaussian around the point, per point of the pixel.
struct Stencil {
    std::vector<std::ptrdiff_t> first, count;
    std::vector<double> weight;  // (n_pixel, n_grid)
};

Stencil make_stencil(const ImageGeometry& geometry, double sigma, double shift) {
    Stencil stencil;
    const auto n = geometry.n_grid;
    const double step = geometry.grid[1] - geometry.grid[0];
    stencil.weight.assign(static_cast<std::size_t>(geometry.n_pixel * n), 0.0);
    for (std::ptrdiff_t pixel = 0; pixel < geometry.n_pixel; ++pixel) {
        const double low = geometry.pixel_edges[pixel] + shift, high = geometry.pixel_edges[pixel + 1] + shift;
        std::ptrdiff_t first = n, last = -1;
        for (std::ptrdiff_t g = 0; g < n; ++g) {
            const double u = geometry.grid[g];
            if (u < low - kReach * sigma - step || u > high + kReach * sigma + step) continue;
            // The point stands for an interval of one step: without resolution, its overlap with the pixel.
            const double overlap = std::max(0.0, std::min(high, u + step / 2) - std::max(low, u - step / 2)) / step;
            const double w = sigma > 0.05 * step ? gaussian_integral(low - u, high - u, sigma) : overlap;
            stencil.weight[pixel * n + g] = w * step / (high - low);
            if (w > 0.0) {
                first = std::min(first, g);
                last = std::max(last, g);
            }
        }
        stencil.first.push_back(std::min(first, n - 1));
        stencil.count.push_back(std::max<std::ptrdiff_t>(0, last - first + 1));
    }
    return stencil;
}

// points: (n_grid, n_grid, n_bins). Adds factor * (along_h x along_k) of the block's bins to image, or its transpose.
void integrate_pixels(const ImageGeometry& geometry, const ImageBlock& block, const std::vector<double>& points,
                      const Stencil& first_axis, const Stencil& second_axis, double factor, bool transposed,
                      double* image) {
    const auto n = geometry.n_grid, pixels = geometry.n_pixel, bins = block.n_bins;
    std::vector<double> row(static_cast<std::size_t>(n * bins)), cell(static_cast<std::size_t>(bins));
    for (std::ptrdiff_t i = 0; i < pixels; ++i) {
        std::fill(row.begin(), row.end(), 0.0);
        for (std::ptrdiff_t g = first_axis.first[i]; g < first_axis.first[i] + first_axis.count[i]; ++g) {
            const double w = first_axis.weight[i * n + g];
            for (std::ptrdiff_t k = 0; k < n; ++k) {
                const double* source = points.data() + (g * n + k) * geometry.n_bins + block.first_bin;
                for (std::ptrdiff_t b = 0; b < bins; ++b) row[k * bins + b] += w * source[b];
            }
        }
        for (std::ptrdiff_t j = 0; j < pixels; ++j) {
            std::fill(cell.begin(), cell.end(), 0.0);
            for (std::ptrdiff_t g = second_axis.first[j]; g < second_axis.first[j] + second_axis.count[j]; ++g)
                for (std::ptrdiff_t b = 0; b < bins; ++b) cell[b] += second_axis.weight[j * n + g] * row[g * bins + b];
            const auto pixel = transposed ? j * pixels + i : i * pixels + j;
            for (std::ptrdiff_t b = 0; b < bins; ++b)
                image[(block.first_bin + b) * pixels * pixels + pixel] += factor * cell[b];
        }
    }
}

struct Worker {
    Worker(const Model& model, const Layers& layers) : amplitudes(model, layers) {}
    QuadraticForm form;
    ModeSet modes;
    Amplitudes amplitudes;
    Sightings sightings;
    Intensities intensities;
};

// All points equivalent to one distinct q. Writes only those points' rows.
void fill_points(const Model& model, const Layers& layers, const ImageGeometry& geometry, const ImageSettings& settings,
                 std::ptrdiff_t solve, Worker& worker, std::vector<double>& points) {
    Sightings& sightings = worker.sightings;
    find_sightings(geometry, settings, worker.modes, sightings);
    worker.intensities.resize(sightings.size());
    worker.amplitudes.load(worker.modes);
    const Vector3 a = geometry.reciprocal.row(0), b = geometry.reciprocal.row(1), c = geometry.reciprocal.row(2);
    const double c_star = c.norm();
    const Vector3 c_unit = c / c_star;
    for (std::int64_t p = geometry.begin[solve]; p < geometry.begin[solve + 1]; ++p) {
        const double* q = geometry.point_q + 2 * p;
        const bool negated = geometry.negated[p] != 0;
        worker.amplitudes.evaluate(model, q, negated);
        const Vector3 in_plane = q[0] * a + q[1] * b;
        find_l(sightings, in_plane.squaredNorm(), c_star, worker.intensities);
        perpendicular_intensities(worker.amplitudes, layers, sightings, negated, in_plane, c_star, c_unit, geometry,
                                  worker.intensities);
        double* row = points.data() + geometry.point[p] * geometry.n_bins;
        for (std::size_t s = 0; s < sightings.size(); ++s) {
            const double* weights = sightings.weights.data() + sightings.first_weight[s];
            double* target = row + sightings.first_bin[s];
            for (std::ptrdiff_t n = 0; n < sightings.n_bins[s]; ++n)
                target[n] += worker.intensities.value[s] * weights[n];
        }
    }
}

// What one image needs while it is made.
struct Canvas {
    explicit Canvas(const ImageGeometry& geometry)
        : points(static_cast<std::size_t>(geometry.n_grid * geometry.n_grid * geometry.n_bins)),
          lowest(static_cast<std::size_t>(geometry.n_solve)) {}
    std::vector<double> points;  // (h, k, bin)
    std::vector<double> lowest;  // per distinct q, NaN where stable
};

// One image; the result does not depend on the number of threads. Returns the lowest eigenvalue met, NaN if stable.
double simulate_one(const Model& model, const Layers& layers, const ImageGeometry& geometry, const double* parameters,
                    const ImageSettings& settings, int threads, Worker* workers, Canvas& canvas, double* image) {
    std::fill(canvas.points.begin(), canvas.points.end(), 0.0);
    parallel_blocks(geometry.n_solve, 8, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int thread) {
        Worker& worker = workers[thread];
        for (std::ptrdiff_t solve = begin; solve < end; ++solve) {
            assemble(model, parameters, geometry.solve_q + 3 * solve, true, worker.form);
            solve_split(worker.form, worker.modes);
            canvas.lowest[solve] = worker.modes.stable ? kNan : worker.modes.lowest_eigenvalue;
            if (worker.modes.stable) fill_points(model, layers, geometry, settings, solve, worker, canvas.points);
        }
    });
    double lowest = kNan;
    for (const double value : canvas.lowest)
        if (!std::isnan(value) && !(lowest < value)) lowest = value;
    std::fill(image, image + geometry.n_bins * geometry.n_pixel * geometry.n_pixel, 0.0);
    if (!std::isnan(lowest)) return lowest;
    parallel_blocks(geometry.n_block, 1, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int) {
        for (std::ptrdiff_t b = begin; b < end; ++b) {
            const ImageBlock& block = geometry.blocks[b];
            const double sigma = std::hypot(block.sigma_q, settings.extra_sigma_q);
            const Stencil along_h = make_stencil(geometry, sigma, settings.shift_h);
            const Stencil along_k = make_stencil(geometry, sigma, settings.shift_k);
            const double twin = settings.twin_fraction;
            if (twin < 1.0)
                integrate_pixels(geometry, block, canvas.points, along_h, along_k, 1.0 - twin, false, image);
            // The other domain: points with h and k exchanged, in the same measured frame.
            if (twin > 0.0) integrate_pixels(geometry, block, canvas.points, along_k, along_h, twin, true, image);
        }
    });
    return kNan;
}

}  // namespace

void simulate_images(const Model& model, const ImageGeometry& geometry, std::ptrdiff_t n_sets, const double* parameters,
                     const ImageSettings* settings, int threads, double* image, double* lowest) {
    if (!model.is_layered())
        fail("an image needs a layered model: a bond couples magnetic cells along c, so energies depend on L");
    if (!model.is_split()) fail("an image needs a model in split form (collinear, or coplanar without mixed terms)");
    const Layers layers = find_layers(model);
    const int team = usable_threads(threads);
    std::vector<Worker> workers(static_cast<std::size_t>(team), Worker(model, layers));
    // Many images: one a thread. Few: all threads on each.
    const bool one_a_thread = n_sets >= team;
    std::vector<Canvas> canvases(one_a_thread ? static_cast<std::size_t>(team) : 1, Canvas(geometry));
    parallel_blocks(n_sets, 1, one_a_thread ? threads : 1, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int thread) {
        for (std::ptrdiff_t set = begin; set < end; ++set)
            lowest[set] = simulate_one(model, layers, geometry, parameters + set * model.n_parameters(), settings[set],
                                       one_a_thread ? 1 : threads, workers.data() + thread, canvases[thread],
                                       image + set * geometry.n_bins * geometry.n_pixel * geometry.n_pixel);
    });
}

}  // namespace insdl
