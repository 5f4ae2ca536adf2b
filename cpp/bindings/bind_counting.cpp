#include "counting_arrays.hpp"

namespace insdl::bindings {
namespace {

using Floats = Array<float>;

CountingArrays make_counting(std::uint64_t key, const Array<std::uint64_t>& index, bool relative, const Floats& scale,
                             const Floats& background, const py::object& sigma, float lowest, float highest) {
    return {key, index, relative, scale, background, sigma, lowest, highest};
}

// mean, counts: (n_images, n_bins, n_pixels).
void count(const Floats& mean, const CountingArrays& counting, Floats& counts, int threads) {
    expect_shape(mean, "mean", {-1, -1, -1});
    const py::ssize_t images = mean.shape(0), bins = mean.shape(1), pixels = mean.shape(2);
    expect_shape(counts, "counts", {images, bins, pixels});
    Floats sigmas;
    const CountingInput input = counting.checked(images, bins, pixels, sigmas);
    float* const out = counts.mutable_data();
    const float* const from = mean.data();
    const py::gil_scoped_release release;
    count_images(input, threads, from, out);
}

Array<std::uint32_t> words(std::uint64_t key, std::uint64_t index, std::uint32_t bin, py::ssize_t number) {
    if (number < 0) fail("a number of words must not be negative, got " + std::to_string(number));
    Array<std::uint32_t> result({number});
    random_words(key, index, bin, number, result.mutable_data());
    return result;
}

}  // namespace

void bind_counting(py::module_& module) {
    using namespace py::literals;
    py::class_<CountingArrays>(module, "Counting", "How expected images are counted.")
        .def(py::init(&make_counting), "key"_a, "index"_a.noconvert(), "relative"_a, "scale"_a.noconvert(),
             "background"_a.noconvert(), "sigma"_a, "lowest"_a, "highest"_a);
    module.def("count", &count, "mean"_a.noconvert(), "counting"_a, "counts"_a.noconvert(), "threads"_a,
               "Counts of expected images.");
    module.def("random_words", &words, "key"_a, "index"_a, "bin"_a, "number"_a, "The generator behind them.");
}

}  // namespace insdl::bindings
