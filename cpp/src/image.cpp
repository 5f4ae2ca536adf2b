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
constexpr double kReach = 4.5;            // Gaussian tails beyond this many sigma are dropped (7e-6 of the weight)
constexpr double kNeutronMass = 2.0721;   // E / k^2 of a neutron, meV angstrom^2
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

// One mode seen in one block: which bins it reaches, and with what weight per meV.
struct Sighting {
    std::ptrdiff_t mode, block, first_bin, n_bins, first_weight;
    double ki, kf2;
};

std::vector<Sighting> find_sightings(const ImageGeometry& geometry, const ImageSettings& settings,
                                     const Eigen::VectorXd& energy, std::vector<double>& weights) {
    std::vector<Sighting> sightings;
    weights.clear();
    for (std::ptrdiff_t b = 0; b < geometry.n_block; ++b) {
        const ImageBlock& block = geometry.blocks[b];
        for (std::ptrdiff_t m = 0; m < energy.size(); ++m) {
            const double e = energy(m);
            if (std::isnan(block.fixed_l) && e >= block.incident_energy) continue;
            const double table =
                settings.width_factor * (block.sigma_energy[0] + e * (block.sigma_energy[1] + e * block.sigma_energy[2]));
            const double sigma = std::max(std::hypot(table, settings.broadening * e), 1e-6);
            Sighting s{m, b, 0, 0, static_cast<std::ptrdiff_t>(weights.size()),
                       std::sqrt(std::max(block.incident_energy, 0.0) / kNeutronMass),
                       (block.incident_energy - e) / kNeutronMass};
            for (std::ptrdiff_t n = block.first_bin; n < block.first_bin + block.n_bins; ++n) {
                const double low = geometry.bins[2 * n], high = geometry.bins[2 * n + 1];
                const bool reached = e + kReach * sigma > low && e - kReach * sigma < high;
                if (s.n_bins == 0) {
                    if (!reached) continue;
                    s.first_bin = n;
                }
                ++s.n_bins;  // bins need not be ordered: gaps get weight zero
                weights.push_back(reached ? gaussian_integral(low - e, high - e, sigma) / (high - low) : 0.0);
            }
            if (s.n_bins > 0) sightings.push_back(s);
        }
    }
    return sightings;
}

// Amplitudes per layer and Cartesian component, in-plane phases included, as separate real and imaginary rows over modes.
struct Amplitudes {
    Amplitudes(const Model& model, const Layers& layers) : n(model.size()) {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            const Site& site = model.sites()[i];
            const Vector3 e1 = site.moment * model.frames()[i].e1, e2 = site.moment * model.frames()[i].e2;
            for (int a = 0; a < 3; ++a) {
                if (std::abs(e1[a]) > 1e-12) terms.push_back({i, layers.of_site[i] * 3 + a, std::sqrt(site.spin) * e1[a], true});
                if (std::abs(e2[a]) > 1e-12) terms.push_back({i, layers.of_site[i] * 3 + a, std::sqrt(site.spin) * e2[a], false});
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

    // At -q the amplitudes are conj(x) and -conj(p): V and T have real coefficients in real space. Conjugating the whole
    // sum turns that into phases of the opposite sign and p of the opposite sign; intensities do not see the conjugation.
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
};

// S_perp F^2 of one mode at (qx, qy, qz): sum over components of |v|^2 - |Q.v|^2 / Q^2.
double perpendicular_intensity(const Amplitudes& amplitudes, const Layers& layers, std::ptrdiff_t mode, bool negated,
                               double l, const Vector3& q_cart, const ImageGeometry& geometry) {
    const auto n = amplitudes.n;
    double vr[3] = {0, 0, 0}, vi[3] = {0, 0, 0};
    for (std::size_t layer = 0; layer < layers.height.size(); ++layer) {
        const double angle = (negated ? kTwoPi : -kTwoPi) * l * layers.height[layer];
        const double c = std::cos(angle), s = std::sin(angle);
        for (int a = 0; a < 3; ++a) {
            const auto index = (static_cast<std::ptrdiff_t>(layer) * 3 + a) * n + mode;
            const double re = amplitudes.real[index], im = amplitudes.imag[index];
            vr[a] += c * re - s * im;
            vi[a] += c * im + s * re;
        }
    }
    const double q2 = q_cart.squaredNorm();
    const double total = vr[0] * vr[0] + vr[1] * vr[1] + vr[2] * vr[2] + vi[0] * vi[0] + vi[1] * vi[1] + vi[2] * vi[2];
    const double along_r = q_cart[0] * vr[0] + q_cart[1] * vr[1] + q_cart[2] * vr[2];
    const double along_i = q_cart[0] * vi[0] + q_cart[1] * vi[1] + q_cart[2] * vi[2];
    const double perpendicular =
        q2 > 1e-16 ? total - (along_r * along_r + along_i * along_i) / q2 : 2.0 / 3.0 * total;
    const double place = q2 / geometry.form_factor_step;
    const auto cell = std::min(static_cast<std::ptrdiff_t>(place), geometry.n_form_factor - 2);
    const double rest = std::min(place - static_cast<double>(cell), 1.0);
    return perpendicular * (geometry.form_factor[cell] * (1.0 - rest) + geometry.form_factor[cell + 1] * rest);
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
                      const Stencil& first_axis, const Stencil& second_axis, double factor, bool transposed, double* image) {
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
    std::vector<double> weights;
};

// All points equivalent to one distinct q. Writes only those points' rows.
void fill_points(const Model& model, const Layers& layers, const ImageGeometry& geometry, const ImageSettings& settings,
                 std::ptrdiff_t solve, Worker& worker, std::vector<double>& points) {
    const auto sightings = find_sightings(geometry, settings, worker.modes.energy, worker.weights);
    worker.amplitudes.load(worker.modes);
    const Vector3 a = geometry.reciprocal.row(0), b = geometry.reciprocal.row(1), c = geometry.reciprocal.row(2);
    for (std::int64_t p = geometry.begin[solve]; p < geometry.begin[solve + 1]; ++p) {
        const double* q = geometry.point_q + 2 * p;
        const bool negated = geometry.negated[p] != 0;
        worker.amplitudes.evaluate(model, q, negated);
        const Vector3 in_plane = q[0] * a + q[1] * b;
        double* row = points.data() + geometry.point[p] * geometry.n_bins;
        for (const Sighting& s : sightings) {
            double l = geometry.blocks[s.block].fixed_l;
            if (std::isnan(l)) {
                const double along2 = s.kf2 - in_plane.squaredNorm();
                if (along2 < 0.0) continue;  // no final wave vector reaches this Q
                l = (s.ki - std::sqrt(along2)) / c.norm();
            }
            const double intensity =
                perpendicular_intensity(worker.amplitudes, layers, s.mode, negated, l, in_plane + l * c, geometry);
            for (std::ptrdiff_t n = 0; n < s.n_bins; ++n)
                row[s.first_bin + n] += intensity * worker.weights[s.first_weight + n];
        }
    }
}

}  // namespace

void simulate_images(const Model& model, const ImageGeometry& geometry, std::ptrdiff_t n_sets, const double* parameters,
                     const ImageSettings* settings, int threads, double* image, double* lowest) {
    if (!model.is_layered())
        fail("an image needs a layered model: a bond couples magnetic cells along c, so energies depend on L");
    if (!model.is_split()) fail("an image needs a model in split form (collinear, or coplanar without mixed terms)");
    const Layers layers = find_layers(model);
    const auto pixels = geometry.n_pixel * geometry.n_pixel;
    std::vector<Worker> workers(static_cast<std::size_t>(usable_threads(threads)), Worker(model, layers));
    std::vector<double> points(static_cast<std::size_t>(geometry.n_grid * geometry.n_grid * geometry.n_bins));
    std::vector<double> unstable(static_cast<std::size_t>(geometry.n_solve));
    for (std::ptrdiff_t set = 0; set < n_sets; ++set) {
        const double* values = parameters + set * model.n_parameters();
        double* out = image + set * geometry.n_bins * pixels;
        std::fill(points.begin(), points.end(), 0.0);
        parallel_blocks(geometry.n_solve, 8, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int thread) {
            Worker& worker = workers[thread];
            for (std::ptrdiff_t solve = begin; solve < end; ++solve) {
                assemble(model, values, geometry.solve_q + 3 * solve, true, worker.form);
                solve_split(worker.form, worker.modes);
                unstable[solve] = worker.modes.stable ? kNan : worker.modes.lowest_eigenvalue;
                if (worker.modes.stable) fill_points(model, layers, geometry, settings[set], solve, worker, points);
            }
        });
        lowest[set] = kNan;
        for (const double value : unstable)
            if (!std::isnan(value) && !(lowest[set] < value)) lowest[set] = value;
        std::fill(out, out + geometry.n_bins * pixels, 0.0);
        if (!std::isnan(lowest[set])) continue;
        parallel_blocks(geometry.n_block, 1, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int) {
            for (std::ptrdiff_t b = begin; b < end; ++b) {
                const ImageBlock& block = geometry.blocks[b];
                const double sigma = std::hypot(block.sigma_q, settings[set].extra_sigma_q);
                const Stencil along_h = make_stencil(geometry, sigma, settings[set].shift_h);
                const Stencil along_k = make_stencil(geometry, sigma, settings[set].shift_k);
                const double twin = settings[set].twin_fraction;
                if (twin < 1.0) integrate_pixels(geometry, block, points, along_h, along_k, 1.0 - twin, false, out);
                // The other domain: points with h and k exchanged, in the same measured frame.
                if (twin > 0.0) integrate_pixels(geometry, block, points, along_k, along_h, twin, true, out);
            }
        });
    }
}

}  // namespace insdl
