// Local frames, the split form, and the coefficients of the quadratic Hamiltonian.
// Holstein-Primakoff quadratures, with a = (x + i p) / sqrt(2):
//     S_i = n_i (S_i - (x_i^2 + p_i^2) / 2) + sqrt(S_i) (e1_i x_i + e2_i p_i).
// Equivalent to Toth & Lake, J. Phys.: Condens. Matter 27, 166002 (2015), written in x and p instead of a and a'.
#include "insdl/model.hpp"

#include <Eigen/Geometry>
#include <cmath>
#include <string>

#include "insdl/error.hpp"

namespace insdl {
namespace {

// A coefficient smaller than this fraction of the largest one is rounding of the input directions.
constexpr double kZero = 1e-12;
constexpr double kParallel = 1e-9;

double strength(const double* parameters, std::ptrdiff_t parameter) {
    return parameter == kFixed ? 1.0 : parameters[parameter];
}

Vector3 any_normal(const Vector3& n) {
    Vector3::Index smallest = 0;
    n.cwiseAbs().minCoeff(&smallest);
    return n.cross(Vector3::Unit(smallest)).normalized();
}

// The normal of the plane that holds all moments; zero where there is none or more than one (collinear).
Vector3 plane_normal(const std::vector<Site>& sites, bool& collinear) {
    Vector3 normal = Vector3::Zero();
    collinear = true;
    for (const Site& site : sites) {
        const Vector3 cross = sites.front().direction.cross(site.direction);
        if (cross.norm() > kParallel && collinear) {
            collinear = false;
            normal = cross.normalized();
        }
    }
    if (collinear) return normal;
    for (const Site& site : sites)
        if (std::abs(site.direction.dot(normal)) > kParallel) return Vector3::Zero();
    return normal;
}

// In a collinear structure the transverse axes are free to turn about the moments. The first matrix that is not
// isotropic in the transverse plane decides: its symmetric part is diagonal along (e1, e2).
Vector3 transverse_axis(const ModelDescription& description) {
    const Vector3 n = description.sites.front().direction;
    const Vector3 e1 = any_normal(n), e2 = n.cross(e1);
    double largest = 0.0, angle = 0.0;
    const auto look = [&](const Matrix3& m) {
        const double difference = e1.dot(m * e1) - e2.dot(m * e2);
        const double mixed = e1.dot(m * e2) + e2.dot(m * e1);
        const double size = std::hypot(difference, mixed);
        if (size > largest * (1.0 + 1e-6) && size > kZero * m.norm()) {
            largest = size;
            angle = 0.5 * std::atan2(mixed, difference);
        }
    };
    for (const Bond& bond : description.bonds) look(bond.exchange);
    for (const SingleIon& ion : description.single_ions) look(ion.matrix);
    return std::cos(angle) * e1 + std::sin(angle) * e2;
}

}  // namespace

Model::Model(const ModelDescription& description) : description_(description) {
    const auto n = size();
    if (n == 0) fail("a model needs at least one site");
    const auto check = [&](std::ptrdiff_t site, std::ptrdiff_t parameter, const char* what) {
        if (site < 0 || site >= n)
            fail(std::string(what) + " refers to site " + std::to_string(site) + ", but there are " +
                 std::to_string(n) + " sites");
        if (parameter < kFixed || parameter >= n_parameters())
            fail(std::string(what) + " refers to parameter " + std::to_string(parameter) + ", but there are " +
                 std::to_string(n_parameters()));
    };
    for (const Bond& bond : description_.bonds) {
        check(bond.i, bond.parameter, "a bond");
        check(bond.j, bond.parameter, "a bond");
    }
    for (const SingleIon& ion : description_.single_ions) check(ion.site, ion.parameter, "a single-ion term");
    for (const Zeeman& zeeman : description_.zeemans) check(zeeman.site, zeeman.parameter, "a Zeeman term");
    find_frames();
    find_coefficients();
}

void Model::find_frames() {
    bool collinear = false;
    const Vector3 normal = plane_normal(description_.sites, collinear);
    const Vector3 axis = collinear ? transverse_axis(description_) : normal;
    frames_.clear();
    for (const Site& site : description_.sites) {
        Vector3 e1 = axis.norm() > 0.5 ? Vector3(axis - axis.dot(site.direction) * site.direction) : Vector3::Zero();
        e1 = e1.norm() > 0.5 ? e1.normalized() : any_normal(site.direction);
        frames_.push_back({e1, site.direction.cross(e1)});
    }
}

void Model::find_coefficients() {
    const auto& sites = description_.sites;
    double largest = 0.0, largest_mixed = 0.0;
    const auto note = [&](double xx, double pp, double xp, double px) {
        largest = std::max({largest, std::abs(xx), std::abs(pp)});
        largest_mixed = std::max({largest_mixed, std::abs(xp), std::abs(px)});
    };
    for (const Bond& bond : description_.bonds) {
        const Site &si = sites[bond.i], &sj = sites[bond.j];
        const Frame &fi = frames_[bond.i], &fj = frames_[bond.j];
        std::ptrdiff_t offset = 0;
        while (offset < static_cast<std::ptrdiff_t>(offsets_.size()) && offsets_[offset] != bond.offset) ++offset;
        if (offset == static_cast<std::ptrdiff_t>(offsets_.size())) offsets_.push_back(bond.offset);
        const double root = std::sqrt(si.spin * sj.spin);
        const Hop hop{bond.i,
                      bond.j,
                      offset,
                      bond.parameter,
                      root * fi.e1.dot(bond.exchange * fj.e1),
                      root * fi.e2.dot(bond.exchange * fj.e2),
                      root * fi.e1.dot(bond.exchange * fj.e2),
                      root * fi.e2.dot(bond.exchange * fj.e1)};
        note(hop.xx, hop.pp, hop.xp, hop.px);
        hops_.push_back(hop);
        const double along = si.direction.dot(bond.exchange * sj.direction);
        on_sites_.push_back({bond.i, bond.parameter, -sj.spin * along, -sj.spin * along, 0.0});
        on_sites_.push_back({bond.j, bond.parameter, -si.spin * along, -si.spin * along, 0.0});
        note(sj.spin * along, si.spin * along, 0.0, 0.0);
    }
    for (const SingleIon& ion : description_.single_ions) {
        const Site& site = sites[ion.site];
        const Frame& frame = frames_[ion.site];
        const double along = site.direction.dot(ion.matrix * site.direction), twice = 2.0 * site.spin;
        const OnSite term{ion.site, ion.parameter, twice * (frame.e1.dot(ion.matrix * frame.e1) - along),
                          twice * (frame.e2.dot(ion.matrix * frame.e2) - along),
                          twice * frame.e1.dot(ion.matrix * frame.e2)};
        note(term.xx, term.pp, term.xp, 0.0);
        on_sites_.push_back(term);
    }
    for (const Zeeman& zeeman : description_.zeemans) {
        const double along = zeeman.vector.dot(sites[zeeman.site].direction);
        on_sites_.push_back({zeeman.site, zeeman.parameter, -along, -along, 0.0});
        note(along, along, 0.0, 0.0);
    }
    split_ = largest_mixed <= kZero * largest;
}

bool Model::is_layered() const {
    for (const Vector3& offset : offsets_)
        if (offset.z() != 0.0) return false;
    return true;
}

double Model::classical_energy(const double* parameters) const {
    const auto& sites = description_.sites;
    double energy = 0.0;
    for (const Bond& bond : description_.bonds)
        energy += strength(parameters, bond.parameter) * sites[bond.i].spin * sites[bond.j].spin *
                  sites[bond.i].direction.dot(bond.exchange * sites[bond.j].direction);
    for (const SingleIon& ion : description_.single_ions) {
        const Site& site = sites[ion.site];
        energy += strength(parameters, ion.parameter) * site.spin * site.spin *
                  site.direction.dot(ion.matrix * site.direction);
    }
    for (const Zeeman& zeeman : description_.zeemans) {
        const Site& site = sites[zeeman.site];
        energy += strength(parameters, zeeman.parameter) * site.spin * zeeman.vector.dot(site.direction);
    }
    return energy;
}

Eigen::Matrix3Xd Model::torque(const double* parameters) const {
    const auto& sites = description_.sites;
    Eigen::Matrix3Xd field = Eigen::Matrix3Xd::Zero(3, size());
    for (const Bond& bond : description_.bonds) {
        const double j = strength(parameters, bond.parameter);
        field.col(bond.i) += j * sites[bond.j].spin * (bond.exchange * sites[bond.j].direction);
        field.col(bond.j) += j * sites[bond.i].spin * (bond.exchange.transpose() * sites[bond.i].direction);
    }
    for (const SingleIon& ion : description_.single_ions) {
        const Site& site = sites[ion.site];
        field.col(ion.site) += strength(parameters, ion.parameter) * 2.0 * site.spin * (ion.matrix * site.direction);
    }
    for (const Zeeman& zeeman : description_.zeemans)
        field.col(zeeman.site) += strength(parameters, zeeman.parameter) * zeeman.vector;
    for (std::ptrdiff_t i = 0; i < size(); ++i)
        field.col(i) = sites[i].spin * sites[i].direction.cross(Vector3(field.col(i)));
    return field;
}

}  // namespace insdl
