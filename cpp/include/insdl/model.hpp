#pragma once

#include <Eigen/Core>
#include <complex>
#include <cstddef>
#include <vector>

namespace insdl {

using Complex = std::complex<double>;
using Vector3 = Eigen::Vector3d;
using Matrix3 = Eigen::Matrix3d;
using ComplexMatrix = Eigen::MatrixXcd;

// A term's strength is parameters[parameter], or 1 where parameter is kFixed.
inline constexpr std::ptrdiff_t kFixed = -1;

struct Site {
    Vector3 position;   // fraction of the magnetic cell
    double spin;        // S
    Vector3 direction;  // unit vector along the moment, Cartesian
    Matrix3 moment;     // what the neutron sees of a spin component: the identity, or the g tensor
};

// S_i . exchange . S_j, the bond joining site i of cell 0 with site j of cell `offset` (each bond once).
struct Bond {
    std::ptrdiff_t i, j;
    Vector3 offset;
    Matrix3 exchange;
    std::ptrdiff_t parameter;
};

// S_i . matrix . S_i, matrix symmetric.
struct SingleIon {
    std::ptrdiff_t site;
    Matrix3 matrix;
    std::ptrdiff_t parameter;
};

// vector . S_i (so vector = -mu_B B.g for a field B), meV.
struct Zeeman {
    std::ptrdiff_t site;
    Vector3 vector;
    std::ptrdiff_t parameter;
};

struct ModelDescription {
    std::vector<Site> sites;
    std::vector<Bond> bonds;
    std::vector<SingleIon> single_ions;
    std::vector<Zeeman> zeemans;
    std::ptrdiff_t n_parameters = 0;
    // Momentum transfers are given in r.l.u. of the chemical cell; magnetic = q_to_magnetic * chemical.
    Matrix3 q_to_magnetic = Matrix3::Identity();
    Matrix3 reciprocal =
        Matrix3::Identity();  // rows: reciprocal vectors of the chemical cell, 1/angstrom, 2 pi included
    double n_cells = 1.0;     // what intensities are divided by: chemical cells in the magnetic one
};

// The local transverse frame of a site: e1 x e2 = direction.
struct Frame {
    Vector3 e1, e2;
};

// Coefficients of the quadratic form 1/2 [x'Vx + p'Tp + x'Gp + p'G'x] in the quadratures of
// S_perp = sqrt(S) (e1 x + e2 p): one bond term, to be multiplied with exp(2 pi i q.offset).
struct Hop {
    std::ptrdiff_t i, j, offset, parameter;
    double xx, pp, xp, px;
};

struct OnSite {
    std::ptrdiff_t site, parameter;
    double xx, pp, xp;
};

// The model's geometry worked out once: frames, form (split or full) and coefficients, all linear in the parameters.
class Model {
  public:
    explicit Model(const ModelDescription& description);

    std::ptrdiff_t size() const { return static_cast<std::ptrdiff_t>(description_.sites.size()); }
    std::ptrdiff_t n_parameters() const { return description_.n_parameters; }
    const std::vector<Site>& sites() const { return description_.sites; }
    const std::vector<Frame>& frames() const { return frames_; }
    const Matrix3& q_to_magnetic() const { return description_.q_to_magnetic; }
    const Matrix3& reciprocal() const { return description_.reciprocal; }
    double n_cells() const { return description_.n_cells; }
    // True where G vanishes for every parameter set, so that the N x N split form applies.
    bool is_split() const { return split_; }
    // True where no bond leaves the layer (offset along c zero): energies do not depend on the third component of q.
    bool is_layered() const;

    // Classical energy of the magnetic cell, meV.
    double classical_energy(const double* parameters) const;
    // S_i n_i x (mean field at i), meV, one column a site; zero in equilibrium.
    Eigen::Matrix3Xd torque(const double* parameters) const;

    const std::vector<Vector3>& offsets() const { return offsets_; }
    const std::vector<Hop>& hops() const { return hops_; }
    const std::vector<OnSite>& on_sites() const { return on_sites_; }

  private:
    void find_frames();
    void find_coefficients();

    ModelDescription description_;
    std::vector<Frame> frames_;
    std::vector<Vector3> offsets_;
    std::vector<Hop> hops_;
    std::vector<OnSite> on_sites_;
    bool split_ = false;
};

}  // namespace insdl
