#include "arrays.hpp"
#include "insdl/counting.hpp"

namespace insdl::bindings {
namespace {

using Floats = Array<float>;
using Indices = Array<std::uint64_t>;

// counts: (n_images, n_bins, n_pixels), written to; sigma: (n_images, n_bins) or None.
void count(const Floats& mean, const Floats& scale, const Floats& offset, const py::object& sigma, float lowest,
           float highest, std::uint64_t key, const Indices& index, Floats& counts, int threads) {
    expect_shape(mean, "mean", {-1, -1, -1});
    const py::ssize_t images = mean.shape(0), bins = mean.shape(1), pixels = mean.shape(2);
    expect_shape(scale, "scale", {images});
    expect_shape(offset, "offset", {images, bins});
    expect_shape(index, "index", {images});
    expect_shape(counts, "counts", {images, bins, pixels});
    Floats sigmas;
    if (!sigma.is_none()) {
        sigmas = sigma.cast<Floats>();
        expect_shape(sigmas, "sigma", {images, bins});
    }
    const CountingInput input{key,          index.data(),  images,
                              bins,         pixels,        mean.data(),
                              scale.data(), offset.data(), sigma.is_none() ? nullptr : sigmas.data(),
                              lowest,       highest};
    float* const out = counts.mutable_data();
    const py::gil_scoped_release release;
    count_images(input, threads, out);
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
    module.def("count", &count, "mean"_a.noconvert(), "scale"_a.noconvert(), "offset"_a.noconvert(), "sigma"_a,
               "lowest"_a, "highest"_a, "key"_a, "index"_a.noconvert(), "counts"_a.noconvert(), "threads"_a,
               "Counts of expected images.");
    module.def("random_words", &words, "key"_a, "index"_a, "bin"_a, "number"_a, "The generator behind them.");
}

}  // namespace insdl::bindings
