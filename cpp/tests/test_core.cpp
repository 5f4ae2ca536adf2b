// What Python cannot see: blocks over threads, exceptions across them, and the core without any binding.
// A plain main without a framework: every failed check is printed, and the exit status counts them.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>
#include <vector>

#include "insdl/counting.hpp"
#include "insdl/folded.hpp"
#include "insdl/image.hpp"
#include "insdl/instruction_set.hpp"
#include "insdl/model.hpp"
#include "insdl/parallel.hpp"
#include "insdl/spinwave.hpp"

namespace {

int failures = 0;

void check(bool good, const std::string& what) {
    if (good) return;
    ++failures;
    std::printf("FAILED: %s\n", what.c_str());
}

bool throws(const std::function<void()>& body, const std::string& words) {
    try {
        body();
    } catch (const std::invalid_argument& error) {
        return std::string(error.what()).find(words) != std::string::npos;
    }
    return false;
}

const std::vector<int> kThreads{1, 2, 3, 8, 33};

void test_blocks_cover_every_index_once() {
    for (const int threads : kThreads)
        for (const std::ptrdiff_t count : {0, 1, 7, 32, 33, 1000})
            for (const std::ptrdiff_t block : {1, 8, 32, 5000}) {
                std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
                std::atomic<bool> sane{true};
                insdl::parallel_blocks(count, block, threads,
                                       [&](std::ptrdiff_t begin, std::ptrdiff_t end, int thread) {
                                           if (begin >= end || end - begin > block || thread < 0 || thread >= threads)
                                               sane = false;
                                           for (std::ptrdiff_t i = begin; i < end; ++i)
                                               ++visits[static_cast<std::size_t>(i)];
                                       });
                const bool once = std::all_of(visits.begin(), visits.end(), [](const auto& n) { return n == 1; });
                check(once && sane, "blocks of " + std::to_string(block) + " of " + std::to_string(count) + " in " +
                                        std::to_string(threads) + " threads");
            }
}

void test_exceptions_leave_the_parallel_region() {
    for (const int threads : kThreads) {
        std::string message;
        try {
            insdl::parallel_blocks(200, 3, threads, [](std::ptrdiff_t begin, std::ptrdiff_t, int) {
                if (begin == 99) throw std::out_of_range("block 33");
            });
        } catch (const std::out_of_range& error) {
            message = error.what();
        }
        check(message == "block 33", "the exception of one block arrives in " + std::to_string(threads) + " threads");
        int sum = 0;
        insdl::parallel_blocks(10, 10, threads, [&](std::ptrdiff_t begin, std::ptrdiff_t end, int) {
            sum += static_cast<int>(end - begin);
        });
        check(sum == 10, "work goes on after an exception");
    }
}

void test_thread_counts() {
    check(insdl::usable_threads(1) == 1, "one thread");
    check(insdl::usable_threads(5) == 5, "as many as asked for");
    check(insdl::usable_threads(0) >= 1, "all processors for zero");
}

// A ferromagnetic chain along a: E = 2 S |J| (1 - cos 2 pi h), and one transverse S split on two components.
insdl::ModelDescription chain(double spin) {
    insdl::ModelDescription description;
    description.sites = {{{0, 0, 0}, spin, {0, 0, 1}, insdl::Matrix3::Identity()}};
    description.bonds = {{0, 0, {1, 0, 0}, insdl::Matrix3::Identity(), 0}};
    description.n_parameters = 1;
    return description;
}

void test_ferromagnet() {
    const double spin = 1.5, exchange = -0.7;
    const insdl::Model model(chain(spin));
    check(model.is_split() && model.is_layered(), "a chain splits and stays in its layer");
    check(std::abs(model.classical_energy(&exchange) - spin * spin * exchange) < 1e-14, "classical energy");
    check(model.torque(&exchange).norm() < 1e-14, "no torque");
    constexpr std::ptrdiff_t n = 101;
    std::vector<double> q;
    for (std::ptrdiff_t k = 0; k < n; ++k)
        for (const double x : {0.013 * static_cast<double>(k) - 0.6, 0.3, -0.2}) q.push_back(x);
    const insdl::SpinwavePlan plan(model);
    check(plan.is_real(), "one site is its own inversion centre");
    std::vector<double> first;
    for (const auto form : {insdl::Form::kAutomatic, insdl::Form::kFull})
        for (const auto precision : {insdl::Precision::kDouble, insdl::Precision::kSingle})
            for (const int threads : kThreads) {
                std::vector<double> energy(n), intensity(n), lowest(1);
                std::vector<std::ptrdiff_t> at_q(1);
                std::vector<insdl::Complex> amplitude(3 * n);
                insdl::spinwave(plan, model, {1, &exchange, n, q.data(), nullptr}, form, precision, threads,
                                {energy.data(), intensity.data(), amplitude.data(), lowest.data(), at_q.data()});
                double energy_error = 0.0, weight_error = 0.0;
                for (std::size_t k = 0; k < n; ++k) {
                    const double wanted =
                        2 * spin * std::abs(exchange) * (1 - std::cos(2 * std::numbers::pi * q[3 * k]));
                    const double weight = std::norm(amplitude[3 * k]) + std::norm(amplitude[3 * k + 1]);
                    energy_error = std::max(energy_error, std::abs(energy[k] - wanted));
                    weight_error = std::max(weight_error, std::abs(weight - spin) + std::norm(amplitude[3 * k + 2]));
                }
                const double tolerance = precision == insdl::Precision::kDouble ? 1e-9 : 1e-4;
                check(energy_error < tolerance, "energies of a ferromagnet");
                check(weight_error < tolerance, "weights of a ferromagnet");
                check(std::isnan(lowest[0]) && at_q[0] == -1, "stable");
                if (form != insdl::Form::kAutomatic || precision != insdl::Precision::kDouble) continue;
                if (first.empty()) first = energy;
                check(energy == first, "the same bits for any number of threads");
            }
}

void test_unstable_sets_are_flagged() {
    const insdl::Model model(chain(1.0));
    const insdl::SpinwavePlan plan(model);
    const std::vector<double> parameters{-1.0, 1.0}, q{0.1, 0.0, 0.0, 0.5, 0.0, 0.0};
    std::vector<double> energy(4), lowest(2);
    std::vector<std::ptrdiff_t> at_q(2);
    insdl::spinwave(plan, model, {2, parameters.data(), 2, q.data(), nullptr}, insdl::Form::kAutomatic,
                    insdl::Precision::kDouble, 2, {energy.data(), nullptr, nullptr, lowest.data(), at_q.data()});
    check(std::abs(energy[1] - 4.0) < 1e-12 && std::isnan(lowest[0]) && at_q[0] == -1, "the stable set");
    check(std::isnan(energy[2]) && std::isnan(energy[3]), "no energies of the unstable set");
    check(std::abs(lowest[1] + 4.0) < 1e-12 && at_q[1] == 1, "where the unstable set is lowest");
}

void test_bad_models_are_refused() {
    check(throws([] { insdl::Model(insdl::ModelDescription{}); }, "at least one site"), "no site");
    auto missing = chain(1.0);
    missing.bonds[0].j = 1;
    check(throws([&] { insdl::Model{missing}; }, "a bond refers to site 1, but there are 1 sites"), "a missing site");
    auto negative = chain(1.0);
    negative.bonds[0].i = -1;
    check(throws([&] { insdl::Model{negative}; }, "site -1"), "a negative site");
    auto unknown = chain(1.0);
    unknown.bonds[0].parameter = 1;
    check(throws([&] { insdl::Model{unknown}; }, "parameter 1"), "an unknown parameter");
    auto ion = chain(1.0);
    ion.single_ions.push_back({2, insdl::Matrix3::Identity(), insdl::kFixed});
    check(throws([&] { insdl::Model{ion}; }, "a single-ion term refers to site 2"), "a single-ion term of no site");
    auto field = chain(1.0);
    field.zeemans.push_back({0, {0, 0, 1}, -2});
    check(throws([&] { insdl::Model{field}; }, "a Zeeman term refers to parameter -2"), "a field of no parameter");
}

// An antiferromagnetic chain in its doubled cell, with a second shell, so that matrices are two by two.
insdl::ModelDescription staggered_chain() {
    insdl::ModelDescription description;
    const insdl::Matrix3 one = insdl::Matrix3::Identity();
    description.sites = {{{0, 0, 0}, 1.5, {0, 0, 1}, one}, {{0.5, 0, 0}, 1.5, {0, 0, -1}, one}};
    description.bonds = {
        {0, 1, {0, 0, 0}, one, 0}, {1, 0, {1, 0, 0}, one, 0}, {0, 0, {1, 0, 0}, one, 1}, {1, 1, {1, 0, 0}, one, 1}};
    description.n_parameters = 2;
    description.q_to_magnetic(0, 0) = 2.0;
    description.n_cells = 2.0;
    return description;
}

// A folded list of q against the same list unfolded: +-(q + G), Goldstone points, many sets, one of them unstable.
void test_folding() {
    const insdl::Model model(staggered_chain());
    const insdl::SpinwavePlan plan(model);
    constexpr std::size_t solves = 20, shifts = 3;
    std::vector<double> solve_q, shift, list;
    std::vector<std::int32_t> plus(shifts * solves, -1), minus(shifts * solves, -1);
    for (std::size_t k = 0; k < solves; ++k)
        for (const double x : {0.0125 * static_cast<double>(k), 0.2, -0.1}) solve_q.push_back(x);
    for (std::size_t g = 0; g < shifts; ++g)
        for (const double x : {0.5 * static_cast<double>(g), 0.0, 2.0 * static_cast<double>(g)}) shift.push_back(x);
    for (std::size_t g = 0; g < shifts; ++g)
        for (std::size_t k = 0; k < solves; ++k)
            for (const double sign : {1.0, -1.0}) {
                if (sign < 0 && k % 3 == 0) continue;
                (sign > 0 ? plus : minus)[g * solves + k] = static_cast<std::int32_t>(list.size() / 3);
                for (std::size_t a = 0; a < 3; ++a) list.push_back(sign * (solve_q[3 * k + a] + shift[3 * g + a]));
            }
    const auto n = static_cast<std::ptrdiff_t>(list.size() / 3);
    const insdl::FoldedPlan folded(model, plan,
                                   {solves, shifts, solve_q.data(), shift.data(), plus.data(), minus.data()});
    const std::vector<double> parameters{1.0, -0.2, 1.3, -0.1, -1.0, 0.3};
    const auto size = static_cast<std::size_t>(3 * n * 2);
    std::vector<double> energy(size), intensity(size), lowest(3);
    std::vector<std::ptrdiff_t> at_q(3);
    insdl::spinwave(plan, model, {3, parameters.data(), n, list.data(), nullptr}, insdl::Form::kAutomatic,
                    insdl::Precision::kDouble, 2,
                    {energy.data(), intensity.data(), nullptr, lowest.data(), at_q.data()});
    for (const int threads : kThreads) {
        std::vector<double> again(size), weight(size), worst(3);
        std::vector<std::ptrdiff_t> where(3);
        folded.evaluate(model, 3, parameters.data(), n, threads,
                        {again.data(), weight.data(), nullptr, worst.data(), where.data()});
        double energy_error = 0.0, weight_error = 0.0;
        for (std::size_t k = 0; k < size * 2 / 3; k += 2) {  // the two stable sets; the chain's modes are degenerate
            energy_error =
                std::max({energy_error, std::abs(again[k] - energy[k]), std::abs(again[k + 1] - energy[k + 1])});
            if (energy[k + 1] < 1e-3) continue;
            weight_error =
                std::max(weight_error, std::abs(weight[k] + weight[k + 1] - intensity[k] - intensity[k + 1]));
        }
        check(energy_error < 1e-9 && weight_error < 1e-9, "a folded list is the list");
        check(where[0] == -1 && where[1] == -1 && where[2] >= 0, "which sets are stable");
        check(std::abs(worst[2] - lowest[2]) < 1e-9, "how unstable the third is");
    }
}

// Two pixels over the whole period of the chain, two points each: the image through views alone.
void test_image() {
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const std::vector<double> grid{0.125, 0.375, 0.625, 0.875}, edges{0.0, 0.5, 1.0}, bins{-1.0, 2.0, 2.0, 5.0};
    const std::vector<double> form_factor{1.0, 1.0, 1.0};
    std::vector<double> solve_q;
    std::vector<std::int32_t> plus;
    const std::vector<std::int32_t> minus(16, -1);
    for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t k = 0; k < 4; ++k) {
            solve_q.push_back(grid[i]);
            solve_q.push_back(grid[k]);
            plus.push_back(static_cast<std::int32_t>(4 * i + k));
        }
    const std::vector<double> shift{0.0, 0.0};
    const insdl::ImageBlock block{50.0, 0.0, {0.05, 0.0, 0.0}, 0.0, 0, 2};
    const insdl::ImageGeometry geometry{16,
                                        solve_q.data(),
                                        1,
                                        shift.data(),
                                        plus.data(),
                                        minus.data(),
                                        4,
                                        grid.data(),
                                        false,
                                        false,
                                        2,
                                        edges.data(),
                                        1,
                                        &block,
                                        2,
                                        bins.data(),
                                        3,
                                        0.01,
                                        form_factor.data(),
                                        false};
    auto description = chain(1.0);
    description.reciprocal = insdl::Matrix3::Identity() * 1e-3;
    const insdl::Model model(description);
    const insdl::SpinwavePlan plan(model);
    const insdl::ImagePlan images(model, plan, geometry);
    const std::vector<double> parameters{-1.0, 1.0};
    const std::vector<insdl::ImageSettings> settings(
        2, insdl::ImageSettings{1.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0});
    for (const int threads : kThreads) {
        std::vector<double> image(16, nan), lowest(2);
        images.simulate(model, 2, parameters.data(), settings.data(), threads,
                        {image.data(), insdl::Precision::kDouble, lowest.data(), nullptr});
        // Energies 0.59 and 3.41 meV: in every pixel one point in each bin, S/2 seen by a Q in the plane, 3 meV wide.
        double error = 0.0;
        for (std::size_t k = 0; k < 8; ++k) error = std::max(error, std::abs(image[k] - 0.5 * 0.5 / 3.0));
        check(error < 1e-9, "an image of a ferromagnet");
        check(std::all_of(image.begin() + 8, image.end(), [](double x) { return x == 0.0; }), "zero where unstable");
        check(std::isnan(lowest[0]) && lowest[1] < -3.0, "stability of each set");
    }
    auto upright = chain(1.0);
    upright.bonds[0].offset = {0, 0, 1};
    const insdl::Model no_layer(upright);
    const insdl::SpinwavePlan no_plan(no_layer);
    check(throws([&] { insdl::ImagePlan{no_layer, no_plan, geometry}; }, "layered"),
          "an image of a model that is not layered");
}

// The points of one quarter, and of half of it, stand for the whole square; with a mosaic, or a resolution that leans.
void test_mirrors(double mosaic, double energy_slope) {
    auto description = chain(1.0);
    description.reciprocal = insdl::Matrix3::Identity();
    auto bond = description.bonds[0];
    bond.offset = {0, 1, 0};
    description.bonds.push_back(bond);
    const insdl::Model model(description);
    const insdl::SpinwavePlan plan(model);
    const std::vector<double> edges{-0.6, -0.2, 0.2, 0.6}, bins{0.5, 2.0, 2.0, 5.0, 5.0, 9.0};
    const std::vector<double> form_factor{1.0, 1.0, 1.0}, shift{0.0, 0.0};
    const insdl::ImageBlock block{50.0, 0.0, {0.3, 0.0, 0.0}, 0.07, 0, 3, energy_slope};
    const insdl::ImageSettings settings{1.1, 0.02, 0.01, 0.3, 0.03, -0.05, 0.1, 20.0, mosaic};
    const double parameter = -1.0;
    std::vector<double> images[3];
    for (const int kind : {0, 1, 2}) {  // all points, one quarter, half of it
        const int n = kind == 0 ? 10 : 5;
        std::vector<double> grid, solve_q;
        for (int k = 0; k < n; ++k) grid.push_back((kind == 0 ? k - 5 : k) * 0.2 + 0.1);
        std::vector<std::int32_t> plus;
        for (int h = 0; h < n; ++h)
            for (int k = 0; k < (kind == 2 ? h + 1 : n); ++k) {
                solve_q.push_back(grid[static_cast<std::size_t>(h)]);
                solve_q.push_back(grid[static_cast<std::size_t>(k)]);
                plus.push_back(h * n + k);
            }
        const std::vector<std::int32_t> minus(plus.size(), -1);
        const insdl::ImageGeometry geometry{static_cast<std::ptrdiff_t>(plus.size()),
                                            solve_q.data(),
                                            1,
                                            shift.data(),
                                            plus.data(),
                                            minus.data(),
                                            n,
                                            grid.data(),
                                            kind > 0,
                                            kind > 1,
                                            3,
                                            edges.data(),
                                            1,
                                            &block,
                                            3,
                                            bins.data(),
                                            3,
                                            10.0,
                                            form_factor.data(),
                                            true};
        const insdl::ImagePlan plan_of_images(model, plan, geometry);
        images[kind].assign(27, std::numeric_limits<double>::quiet_NaN());
        double lowest = 0.0;
        plan_of_images.simulate(model, 1, &parameter, &settings, 1,
                                {images[kind].data(), insdl::Precision::kDouble, &lowest, nullptr});
        check(std::isnan(lowest), "a stable square");
    }
    double error = 0.0, largest = 0.0;
    for (std::size_t k = 0; k < 27; ++k) {
        largest = std::max(largest, images[0][k]);
        error = std::max({error, std::abs(images[1][k] - images[0][k]), std::abs(images[2][k] - images[0][k])});
    }
    check(largest > 0.01 && error < 1e-12 * largest, "mirrors of an image");
}

void test_counting() {
    constexpr std::ptrdiff_t kBins = 3, kPixels = 70;  // not a whole number of groups
    std::vector<float> mean(2 * kBins * kPixels);
    for (std::size_t k = 0; k < mean.size(); ++k) mean[k] = 0.3F * static_cast<float>(k % 97);
    const std::vector<float> scale{1.0F, 2.0F}, offset(2 * kBins, 0.5F), sigma(2 * kBins, 1.5F);
    const std::vector<std::uint64_t> index{3, 1ULL << 40};
    for (const float* noise : {static_cast<const float*>(nullptr), sigma.data()}) {
        const insdl::CountingInput input{
            9,     index.data(), 2,    kBins, kPixels, insdl::CountLevel::kAbsolute, scale.data(), offset.data(),
            noise, 0.0F,         60.0F};
        std::vector<float> first(mean.size(), -1.0F), second(mean.size(), -1.0F);
        insdl::count_images(input, 1, mean.data(), first.data());
        insdl::count_images(input, 2, mean.data(), second.data());
        check(first == second, "counts for any number of threads");
        check(std::all_of(first.begin(), first.end(), [](float x) { return x >= 0.0F && x <= 60.0F; }),
              "limits of counts");
        auto bad = mean;
        bad[kBins * kPixels + 5] = std::numeric_limits<float>::quiet_NaN();
        check(throws([&] { insdl::count_images(input, 1, bad.data(), first.data()); }, "image 1, bin 0, pixel 5"),
              "a mean that is not a number");
    }
}

void test_instruction_sets() {
    const std::string widest = insdl::instruction_set();
    check(widest == insdl::instruction_sets().back(), "the widest is chosen");
    check(throws([] { insdl::choose_instruction_set("mmx"); }, "'mmx'"), "an instruction set that is not there");
    for (const std::string& name : insdl::instruction_sets()) {
        insdl::choose_instruction_set(name);
        check(insdl::instruction_set() == name, "the choice");
        test_ferromagnet();
        test_unstable_sets_are_flagged();
        test_folding();
        test_image();
        test_mirrors(0.02, 0.0);
        test_mirrors(0.0, 3.0);
        test_counting();
    }
    insdl::choose_instruction_set(widest);
}

}  // namespace

int main() {
    test_blocks_cover_every_index_once();
    test_exceptions_leave_the_parallel_region();
    test_thread_counts();
    test_bad_models_are_refused();
    test_instruction_sets();
    if (failures == 0) std::printf("all C++ checks passed\n");
    return std::min(failures, 100);
}
