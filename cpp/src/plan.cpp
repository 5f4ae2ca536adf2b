#include "plan.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

namespace insdl {
namespace {

constexpr double kSameWave = 1e-9;
constexpr double kZero = 1e-12;

// The number of `wave` in the list (three numbers each), added where it is new.
std::int32_t number_of(std::vector<double>& waves, const Vector3& wave) {
    const std::size_t count = waves.size() / 3;
    for (std::size_t k = 0; k < count; ++k)
        if ((Eigen::Map<const Vector3>(waves.data() + 3 * k) - wave).cwiseAbs().maxCoeff() < kSameWave)
            return static_cast<std::int32_t>(k);
    waves.insert(waves.end(), wave.data(), wave.data() + 3);
    return static_cast<std::int32_t>(count);
}

// First component that is not zero positive: a wave and its opposite share cosine and sine.
bool is_backward(const Vector3& wave) {
    for (int a = 0; a < 3; ++a)
        if (std::abs(wave[a]) > kSameWave) return wave[a] < 0.0;
    return false;
}

// An orthonormal basis of the space that the vectors span.
std::vector<Vector3> span_of(const std::vector<Vector3>& vectors) {
    double largest = 0.0;
    for (const Vector3& v : vectors) largest = std::max(largest, v.norm());
    std::vector<Vector3> basis;
    for (const Vector3& v : vectors) {
        Vector3 rest = v;
        for (int twice = 0; twice < 2; ++twice)
            for (const Vector3& b : basis) rest -= b.dot(rest) * b;
        if (rest.norm() > kZero * largest && basis.size() < 3) basis.push_back(rest.normalized());
    }
    return basis;
}

}  // namespace

FormPlan::FormPlan(const Model& model, bool split) {
    basis_ = split ? basis_of(model) : site_basis(model);
    for (int r = 0; r < 3; ++r)
        for (int a = 0; a < 3; ++a) reciprocal_.push_back(model.reciprocal()(r, a));
    find_entries(model, split);
    find_rows(model, split);
    find_wave_steps();
    // From here on the waves meet q in r.l.u. of the chemical cell.
    for (auto* waves : {&waves_, &site_waves_})
        for (std::size_t k = 0; k < waves->size(); k += 3) {
            Eigen::Map<Vector3> wave(waves->data() + k);
            wave = Vector3(model.q_to_magnetic().transpose() * wave);
        }
    view_.n_modes = static_cast<std::int32_t>(model.size());
    view_.n = static_cast<std::int32_t>(split ? model.size() : 2 * model.size());
    view_.split = split ? 1 : 0;
    view_.is_complex = basis_.is_real ? 0 : 1;
    view_.n_waves = static_cast<std::int32_t>(waves_.size() / 3);
    view_.waves = waves_.data();
    view_.wave_steps = wave_steps_.data();
    view_.n_entries = static_cast<std::int32_t>(entries_.size() - 1);
    view_.entries = entries_.data();
    view_.terms = terms_.data();
    view_.n_values = static_cast<std::int32_t>(n_values_);
    view_.n_sites = static_cast<std::int32_t>(model.size());
    view_.n_site_waves = static_cast<std::int32_t>(site_waves_.size() / 3);
    view_.site_waves = site_waves_.data();
    view_.wave_of_site = wave_of_site_.data();
    view_.reciprocal = reciprocal_.data();
    plain_view_ = view_;
    rows_.show(view_);
    plain_rows_.show(plain_view_);
}

// Short waves first, each as the sum or the difference of two before it where there are such: four multiplications
// instead of a sine and a cosine. A chain of sums adds a rounding a link, so chains are kept short.
void FormPlan::find_wave_steps() {
    constexpr int kLongestChain = 3;
    constexpr std::size_t kMost = 64;  // waves that others are made of, so that many waves do not take long
    const auto count = static_cast<std::int32_t>(waves_.size() / 3);
    const auto wave = [&](std::int32_t k) { return Eigen::Map<const Vector3>(waves_.data() + 3 * k); };
    std::vector<std::int32_t> order(static_cast<std::size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, {}, [&](std::int32_t k) { return wave(k).norm(); });
    std::vector<int> links(order.size(), 0);
    for (std::size_t k = 0; k < order.size(); ++k) {
        const std::int32_t own = order[k];
        WaveStep best{own, -1, -1, 0};
        int shortest = kLongestChain + 1;
        for (std::size_t i = 1; i < std::min(k, kMost); ++i)  // the first one is zero
            for (std::size_t j = 1; j < std::min(k, kMost); ++j)
                for (const int sign : {1, -1}) {
                    const std::int32_t a = order[i], b = order[j];
                    const int chain =
                        1 + std::max(links[static_cast<std::size_t>(a)], links[static_cast<std::size_t>(b)]);
                    if (chain >= shortest || (wave(a) + sign * wave(b) - wave(own)).cwiseAbs().maxCoeff() >= kSameWave)
                        continue;
                    shortest = chain;
                    best = {own, a, b, sign};
                }
        if (best.a >= 0) links[static_cast<std::size_t>(own)] = shortest;
        wave_steps_.push_back(best);
    }
}

void FormPlan::find_entries(const Model& model, bool split) {
    const auto n = model.size();
    waves_.assign(3, 0.0);
    // (matrix, row, column, imaginary, trig, parameter) -> coefficient
    using Key = std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t, std::int32_t, std::ptrdiff_t>;
    std::map<Key, double> coefficients;
    double largest = 0.0;
    const auto add = [&](std::int32_t matrix, std::ptrdiff_t row, std::ptrdiff_t column, const Vector3& wave,
                         Complex weight, std::ptrdiff_t parameter) {
        if (row < column) return;  // the lower triangle is all that is needed
        largest = std::max(largest, std::abs(weight));
        const bool backward = is_backward(wave);
        const std::int32_t cosine = 2 * number_of(waves_, backward ? Vector3(-wave) : wave), sine = cosine + 1;
        const double turn = backward ? -1.0 : 1.0;
        const auto r = static_cast<std::int32_t>(row), c = static_cast<std::int32_t>(column);
        // weight exp(i theta), theta = 2 pi q.wave
        coefficients[{matrix, r, c, 0, cosine, parameter}] += weight.real();
        coefficients[{matrix, r, c, 0, sine, parameter}] -= turn * weight.imag();
        if (basis_.is_real) return;
        coefficients[{matrix, r, c, 1, cosine, parameter}] += weight.imag();
        coefficients[{matrix, r, c, 1, sine, parameter}] += turn * weight.real();
    };
    const auto add_in_basis = [&](std::int32_t matrix, std::ptrdiff_t row0, std::ptrdiff_t column0, std::ptrdiff_t i,
                                  std::ptrdiff_t j, const Vector3& offset, double coefficient,
                                  std::ptrdiff_t parameter) {
        const Vector3 wave = offset + basis_.position[j] - basis_.position[i];
        for (const BasisTerm& left : basis_.of_site[i])
            for (const BasisTerm& right : basis_.of_site[j])
                add(matrix, row0 + left.column, column0 + right.column, wave,
                    coefficient * std::conj(left.weight) * right.weight, parameter);
    };
    for (const Hop& hop : model.hops()) {
        const Vector3& d = model.offsets()[hop.offset];
        const Vector3 back = -d;
        const std::int32_t t_matrix = split ? 1 : 0;
        const std::ptrdiff_t p = split ? 0 : n;
        add_in_basis(0, 0, 0, hop.i, hop.j, d, hop.xx, hop.parameter);
        add_in_basis(0, 0, 0, hop.j, hop.i, back, hop.xx, hop.parameter);
        add_in_basis(t_matrix, p, p, hop.i, hop.j, d, hop.pp, hop.parameter);
        add_in_basis(t_matrix, p, p, hop.j, hop.i, back, hop.pp, hop.parameter);
        if (split) continue;
        // G_ij += xp e^{i theta} and G_ji += px e^{-i theta}; G' stands below the diagonal.
        add_in_basis(0, n, 0, hop.j, hop.i, back, hop.xp, hop.parameter);
        add_in_basis(0, n, 0, hop.i, hop.j, d, hop.px, hop.parameter);
    }
    for (const OnSite& term : model.on_sites()) {
        const Vector3 none = Vector3::Zero();
        add_in_basis(0, 0, 0, term.site, term.site, none, term.xx, term.parameter);
        add_in_basis(split ? 1 : 0, split ? 0 : n, split ? 0 : n, term.site, term.site, none, term.pp, term.parameter);
        if (!split) add_in_basis(0, n, 0, term.site, term.site, none, term.xp, term.parameter);
    }
    std::tuple<std::int32_t, std::int32_t, std::int32_t, std::int32_t> last{-1, 0, 0, 0};
    std::int32_t last_trig = -1;
    for (const auto& [key, coefficient] : coefficients) {
        const auto& [matrix, row, column, imaginary, trig, parameter] = key;
        if (std::abs(coefficient) <= kZero * largest) continue;
        const std::tuple place{matrix, row, column, imaginary};
        if (place != last) {
            entries_.push_back({matrix, row, column, imaginary, static_cast<std::int32_t>(terms_.size())});
            last = place;
            last_trig = -1;
        }
        if (trig != last_trig) {
            terms_.push_back({static_cast<std::int32_t>(n_values_++), trig});
            last_trig = trig;
        }
        shares_.push_back({static_cast<std::int32_t>(n_values_ - 1), parameter, coefficient});
    }
    entries_.push_back({0, 0, 0, 0, static_cast<std::int32_t>(terms_.size())});
}

// One row a direction; in a real form one for the real and one for the imaginary part. p carries its factor -i.
void FormPlan::find_rows(const Model& model, bool split) {
    const auto n = model.size();
    std::vector<Vector3> along_x, along_p;
    site_waves_.assign(3, 0.0);
    const Vector3 first = model.sites().front().position - basis_.position.front();
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const double root = std::sqrt(model.sites()[i].spin / model.n_cells());
        along_x.push_back(root * (model.sites()[i].moment * model.frames()[i].e1));
        along_p.push_back(root * (model.sites()[i].moment * model.frames()[i].e2));
        // A phase that all sites share is a mode's own and has no meaning.
        wave_of_site_.push_back(number_of(site_waves_, model.sites()[i].position - basis_.position[i] - first));
    }
    if (split) {
        x_directions_ = span_of(along_x);
        p_directions_ = span_of(along_p);
    } else {
        std::vector<Vector3> both = along_x;
        both.insert(both.end(), along_p.begin(), along_p.end());
        x_directions_ = span_of(both);
    }
    const auto add = [&](const Vector3& direction, const std::vector<Vector3>& along, Complex factor,
                         std::ptrdiff_t column0, Rows& rows, std::int32_t part) {
        for (std::ptrdiff_t i = 0; i < n; ++i)
            for (const BasisTerm& term : basis_.of_site[i]) {
                const Complex weight = factor * direction.dot(along[i]) * term.weight;
                if (std::abs(weight) > kZero)
                    rows.terms.push_back({rows.count, static_cast<std::int32_t>(column0 + term.column),
                                          static_cast<std::int32_t>(i), part, weight.real(), weight.imag()});
            }
    };
    const auto add_rows = [&](const std::vector<Vector3>& directions, bool along_p_too, bool is_p) {
        for (const Vector3& direction : directions)
            for (std::int32_t part = 0; part < (basis_.is_real ? 2 : 1); ++part) {
                const Complex factor = is_p ? Complex(0.0, -1.0) : Complex(1.0);
                add(direction, is_p ? along_p : along_x, factor, 0, rows_, part);
                if (along_p_too) add(direction, along_p, 1.0, n, rows_, part);
                rows_.end_row(direction, part);
            }
    };
    add_rows(x_directions_, !split, false);
    rows_.count_x = rows_.count;
    add_rows(p_directions_, false, true);
    simplify_rows();
}

// Without form factors and phases the terms of an element add up to a constant, and rows of nothing fall away.
void FormPlan::simplify_rows() {
    plain_rows_ = rows_;
    if (site_waves_.size() > 3) return;
    plain_rows_ = {};
    for (std::int32_t r = 0; r < rows_.count; ++r) {
        if (r == rows_.count_x) plain_rows_.count_x = plain_rows_.count;
        std::map<std::int32_t, Complex> elements;
        for (const RowTerm& term : rows_.terms)
            if (term.row == r) elements[term.column] += Complex(term.re, term.im);
        bool empty = true;
        const std::int32_t part = rows_.parts[static_cast<std::size_t>(r)];
        for (const auto& [column, weight] : elements) {
            const double size = basis_.is_real ? std::abs(part ? weight.imag() : weight.real()) : std::abs(weight);
            if (size <= kZero) continue;
            plain_rows_.terms.push_back({plain_rows_.count, column, 0, part, weight.real(), weight.imag()});
            empty = false;
        }
        if (!empty) plain_rows_.end_row(Eigen::Map<const Vector3>(rows_.directions.data() + 3 * r), part);
    }
    if (rows_.count_x == rows_.count) plain_rows_.count_x = plain_rows_.count;
}

void FormPlan::Rows::end_row(const Vector3& direction, std::int32_t part) {
    for (std::int32_t r = 0; r < count; ++r)
        if (parts[static_cast<std::size_t>(r)] == part &&
            std::abs(direction.dot(Eigen::Map<const Vector3>(directions.data() + 3 * r))) > kZero)
            orthogonal = 0;
    directions.insert(directions.end(), direction.data(), direction.data() + 3);
    parts.push_back(part);
    ++count;
}

void FormPlan::Rows::show(FormView& view) const {
    view.n_rows = count;
    view.n_rows_x = count_x;
    view.n_row_terms = static_cast<std::int32_t>(terms.size());
    view.row_terms = terms.data();
    view.row_directions = directions.data();
    view.row_parts = parts.data();
    view.orthogonal = orthogonal;
}

void FormPlan::evaluate(const double* parameters, double* values) const {
    std::fill(values, values + n_values_, 0.0);
    for (const Share& share : shares_)
        values[share.value] += share.coefficient * (share.parameter == kFixed ? 1.0 : parameters[share.parameter]);
    // What a diagonal element can reach at any q: at a Goldstone point it may cancel, and rounding with it.
    double largest = 0.0;
    for (std::size_t k = 0; k + 1 < entries_.size(); ++k) {
        if (entries_[k].row != entries_[k].column) continue;
        double sum = 0.0;
        for (std::int32_t t = entries_[k].first; t < entries_[k + 1].first; ++t)
            sum += std::abs(values[terms_[t].value]);
        largest = std::max(largest, sum);
    }
    int exponent = 1;
    if (largest > 0.0 && std::isfinite(largest)) std::frexp(largest, &exponent);
    const double unit = std::ldexp(1.0, exponent - 1);
    for (std::size_t k = 0; k < n_values_; ++k) values[k] /= unit;
    values[n_values_] = largest > 0.0 ? largest / unit : 1.0;
    values[n_values_ + 1] = unit;
}

}  // namespace insdl
