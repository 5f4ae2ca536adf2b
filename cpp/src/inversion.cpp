// With an inversion i -> image(i), V(-q) = P V(q) P' for a signed permutation P, while real coefficients in real space
// give V(-q) = conj V(q). So V commutes with the antiunitary operation (Theta x)_image(i) = sign(i) conj(x_i), and is
// real in a basis of vectors that Theta leaves alone; T likewise with the same signs.
#include "inversion.hpp"

#include <array>
#include <cmath>
#include <map>
#include <numbers>
#include <tuple>

namespace insdl {
namespace {

constexpr double kSamePlace = 1e-5;  // fraction of the cell
constexpr double kSame = 1e-10;      // of the largest coefficient

struct Pair {
    double xx = 0.0, pp = 0.0;
};

// (i, j, offset, parameter), the direction chosen so that a bond has one key.
using HopKey = std::tuple<std::ptrdiff_t, std::ptrdiff_t, std::array<long, 3>, std::ptrdiff_t>;
using Hops = std::map<HopKey, Pair>;

HopKey key_of(std::ptrdiff_t i, std::ptrdiff_t j, const Vector3& offset, std::ptrdiff_t parameter) {
    const std::array<long, 3> forth{std::lround(offset.x()), std::lround(offset.y()), std::lround(offset.z())};
    const std::array<long, 3> back{-forth[0], -forth[1], -forth[2]};
    if (std::tie(i, j, forth) <= std::tie(j, i, back)) return {i, j, forth, parameter};
    return {j, i, back, parameter};
}

struct Form {
    Hops hops;
    std::map<std::pair<std::ptrdiff_t, std::ptrdiff_t>, Pair> on_sites;  // (site, parameter)
    double largest = 0.0;
};

Form collect(const Model& model) {
    Form form;
    const auto note = [&](Pair& pair, double xx, double pp) {
        pair.xx += xx;
        pair.pp += pp;
        form.largest = std::max({form.largest, std::abs(xx), std::abs(pp)});
    };
    for (const Hop& hop : model.hops())
        note(form.hops[key_of(hop.i, hop.j, model.offsets()[hop.offset], hop.parameter)], hop.xx, hop.pp);
    for (const OnSite& term : model.on_sites()) note(form.on_sites[{term.site, term.parameter}], term.xx, term.pp);
    return form;
}

// The map of sites that sends site 0 to site j. shift: lattice vector in r_i + r_image + shift = twice the centre.
bool map_sites(const Model& model, std::ptrdiff_t j, bool in_plane, Inversion& inversion, std::vector<Vector3>& shift) {
    const auto& sites = model.sites();
    const Vector3 twice = sites[0].position + sites[j].position;
    inversion.image.assign(sites.size(), -1);
    inversion.position.assign(sites.size(), Vector3::Zero());
    shift.assign(sites.size(), Vector3::Zero());
    for (std::size_t i = 0; i < sites.size(); ++i) {
        for (std::size_t k = 0; k < sites.size() && inversion.image[i] < 0; ++k) {
            Vector3 rest = twice - sites[i].position - sites[k].position;
            if (in_plane) rest.z() = sites[i].position.z() - sites[k].position.z();
            const Vector3 whole = rest.array().round();
            if ((rest - whole).cwiseAbs().maxCoeff() > kSamePlace) continue;
            inversion.image[i] = static_cast<std::ptrdiff_t>(k);
            shift[i] = in_plane ? Vector3(whole.x(), whole.y(), 0.0) : whole;
        }
        if (inversion.image[i] < 0) return false;
    }
    for (std::size_t i = 0; i < sites.size(); ++i) {
        const auto k = static_cast<std::size_t>(inversion.image[i]);
        if (inversion.image[k] != static_cast<std::ptrdiff_t>(i)) return false;
        // Exactly opposite positions, even where the given ones are so only to rounding.
        inversion.position[i] = 0.5 * (sites[i].position - sites[k].position - shift[i]);
        if (in_plane) inversion.position[i].z() = 0.0;
    }
    return true;
}

bool same(const Pair& a, const Pair& b, double sign, double tolerance) {
    return std::abs(a.xx - sign * b.xx) <= tolerance && std::abs(a.pp - sign * b.pp) <= tolerance;
}

// Signs such that every hop equals sign_i sign_j times its image; false where there are none.
bool find_signs(const Form& form, const std::vector<Vector3>& shift, Inversion& inversion) {
    struct Constraint {
        std::ptrdiff_t i, j;
        double sign;
    };
    const double tolerance = kSame * form.largest;
    std::vector<Constraint> constraints;
    for (const auto& [key, pair] : form.hops) {
        const auto& [i, j, offset, parameter] = key;
        const Vector3 moved =
            shift[j] - shift[i] -
            Vector3(static_cast<double>(offset[0]), static_cast<double>(offset[1]), static_cast<double>(offset[2]));
        const auto found = form.hops.find(key_of(inversion.image[i], inversion.image[j], moved, parameter));
        const Pair image = found == form.hops.end() ? Pair{} : found->second;
        if (same(pair, {}, 1.0, tolerance) && same(image, {}, 1.0, tolerance)) continue;
        if (same(pair, image, 1.0, tolerance))
            constraints.push_back({i, j, 1.0});
        else if (same(pair, image, -1.0, tolerance))
            constraints.push_back({i, j, -1.0});
        else
            return false;
    }
    for (const auto& [key, pair] : form.on_sites) {
        const auto found = form.on_sites.find({inversion.image[key.first], key.second});
        if (!same(pair, found == form.on_sites.end() ? Pair{} : found->second, 1.0, tolerance)) return false;
    }
    auto& sign = inversion.sign;
    sign.assign(inversion.image.size(), 0.0);
    for (std::size_t start = 0; start < sign.size(); ++start) {
        if (sign[start] != 0.0) continue;
        sign[start] = 1.0;
        for (bool changed = true; changed;) {
            changed = false;
            for (const Constraint& c : constraints) {
                if (sign[c.i] != 0.0 && sign[c.j] == 0.0) sign[c.j] = c.sign * sign[c.i], changed = true;
                if (sign[c.j] != 0.0 && sign[c.i] == 0.0) sign[c.i] = c.sign * sign[c.j], changed = true;
            }
        }
    }
    for (const Constraint& c : constraints)
        if (sign[c.i] * sign[c.j] != c.sign) return false;
    // Theta squared must be 1: a sign of -1 twice would make the form quaternionic instead.
    for (std::size_t i = 0; i < sign.size(); ++i)
        if (sign[i] * sign[inversion.image[i]] != 1.0) return false;
    return true;
}

}  // namespace

std::optional<Inversion> find_inversion(const Model& model) {
    if (!model.is_split()) return std::nullopt;
    const Form form = collect(model);
    for (const bool in_plane : {false, true}) {
        if (in_plane && !model.is_layered()) continue;  // heights do not matter there
        for (std::ptrdiff_t j = 0; j < model.size(); ++j) {
            Inversion inversion;
            std::vector<Vector3> shift;
            if (map_sites(model, j, in_plane, inversion, shift) && find_signs(form, shift, inversion)) return inversion;
        }
    }
    return std::nullopt;
}

Basis site_basis(const Model& model) {
    Basis basis;
    basis.is_real = false;
    for (std::size_t i = 0; i < model.sites().size(); ++i) {
        basis.of_site.push_back({{static_cast<std::ptrdiff_t>(i), 1.0}});
        basis.position.push_back(model.sites()[i].position);
    }
    return basis;
}

Basis basis_of(const Model& model) {
    const auto n = static_cast<std::size_t>(model.size());
    const auto inversion = find_inversion(model);
    Basis basis;
    if (!inversion) return site_basis(model);
    basis.is_real = true;
    basis.of_site.resize(n);
    basis.position = inversion->position;
    const Complex i_unit(0.0, 1.0);
    const double root = std::numbers::sqrt2 / 2.0;
    std::ptrdiff_t column = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const auto k = static_cast<std::size_t>(inversion->image[i]);
        const double sign = inversion->sign[i];
        if (k == i) basis.of_site[i] = {{column++, sign > 0.0 ? Complex(1.0) : i_unit}};
        if (k <= i) continue;
        basis.of_site[i] = {{column, root}, {column + 1, i_unit * root}};
        basis.of_site[k] = {{column, sign * root}, {column + 1, -sign * i_unit * root}};
        column += 2;
    }
    return basis;
}

}  // namespace insdl
