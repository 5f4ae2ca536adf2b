#include <pybind11/stl.h>

#include "arrays.hpp"
#include "insdl/detection.hpp"

namespace insdl::bindings {
namespace {

using Floats = Array<float>;

// image, shapes, out: (n_bins, n_h, n_k); terms: (n_terms, n_h, n_k); coefficients: (n_bins, n_terms).
void expected(const Floats& image, bool mirror_h, bool mirror_k, float scale, const Floats& terms,
              const Floats& coefficients, const std::vector<Floats>& shapes, const std::vector<float>& levels,
              Floats& out) {
    expect_shape(image, "image", {-1, -1, -1});
    const py::ssize_t bins = image.shape(0), n_h = image.shape(1), n_k = image.shape(2);
    expect_shape(terms, "terms", {-1, n_h, n_k});
    expect_shape(coefficients, "coefficients", {bins, terms.shape(0)});
    expect_shape(out, "out", {bins, n_h, n_k});
    if (shapes.size() != levels.size())
        fail("every shape needs a level, got " + std::to_string(shapes.size()) + " and " +
             std::to_string(levels.size()));
    ExpectedInput input{bins,     n_h,   n_k,          terms.shape(0),      image.data(), mirror_h,
                        mirror_k, scale, terms.data(), coefficients.data(), {},           levels};
    for (const Floats& shape : shapes) {
        expect_shape(shape, "shape", {bins, n_h, n_k});
        input.shapes.push_back(shape.data());
    }
    float* const to = out.mutable_data();
    if (to == image.data()) fail("out must not be the image itself");
    const py::gil_scoped_release release;
    expected_image(input, to);
}

double sum(const Floats& image, const Floats& weight) {
    if (image.size() != weight.size())
        fail("image and weight must have the same size, got " + std::to_string(image.size()) + " and " +
             std::to_string(weight.size()));
    const float *const from = image.data(), *const by = weight.data();
    const py::ssize_t n = image.size();
    const py::gil_scoped_release release;
    return weighted_sum(n, from, by);
}

// counts, seen: (n_images, n); out: (n_images, 2, n).
py::ssize_t view(const Floats& counts, const Array<bool>& seen, Floats& out) {
    expect_shape(counts, "counts", {-1, -1});
    const py::ssize_t images = counts.shape(0), n = counts.shape(1);
    expect_shape(seen, "seen", {images, n});
    expect_shape(out, "out", {images, 2, n});
    const float* const from = counts.data();
    const auto* const looked = reinterpret_cast<const std::uint8_t*>(seen.data());
    float* const to = out.mutable_data();
    const py::gil_scoped_release release;
    for (py::ssize_t image = 0; image < images; ++image) {
        float* const values = to + 2 * image * n;
        const std::ptrdiff_t bad = arsinh_view(n, from + image * n, looked + image * n, values, values + n);
        if (bad >= 0) return image * n + bad;
    }
    return -1;
}

// images: (n_images, 2 n_cells, n_h, n_k); mean, share: (n_images, n_cells, n_h / 2, n_k / 2); log_scale: (n_images,
// n_cells).
void quarters(const Floats& images, int threads, Floats& mean, Floats& share, Floats& log_scale) {
    expect_shape(images, "images", {-1, -1, -1, -1});
    const py::ssize_t n = images.shape(0), channels = images.shape(1), n_h = images.shape(2), n_k = images.shape(3);
    if (channels % 2 || n_h % 2 || n_k % 2)
        fail("images must have an even number of channels, rows and columns, got " + std::to_string(channels) + ", " +
             std::to_string(n_h) + " and " + std::to_string(n_k));
    expect_shape(mean, "mean", {n, channels / 2, n_h / 2, n_k / 2});
    expect_shape(share, "share", {n, channels / 2, n_h / 2, n_k / 2});
    expect_shape(log_scale, "log_scale", {n, channels / 2});
    const QuarterInput input{n, channels / 2, n_h, n_k, images.data()};
    float *const to = mean.mutable_data(), *const of = share.mutable_data(), *const scale = log_scale.mutable_data();
    const py::gil_scoped_release release;
    fold_quarters(input, threads, to, of, scale);
}

void singles(const Array<std::uint16_t>& halves, Floats& out) {
    if (halves.size() != out.size())
        fail("halves and out must have the same size, got " + std::to_string(halves.size()) + " and " +
             std::to_string(out.size()));
    const std::uint16_t* const from = halves.data();
    float* const to = out.mutable_data();
    const py::ssize_t n = halves.size();
    const py::gil_scoped_release release;
    half_to_single(n, from, to);
}

}  // namespace

void bind_detection(py::module_& module) {
    using namespace py::literals;
    module.def("expected_image", &expected, "image"_a.noconvert(), "mirror_h"_a, "mirror_k"_a, "scale"_a,
               "terms"_a.noconvert(), "coefficients"_a.noconvert(), "shapes"_a, "levels"_a, "out"_a.noconvert(),
               "An image and what is added to it.");
    module.def("weighted_sum", &sum, "image"_a.noconvert(), "weight"_a.noconvert(), "Sum of image times weight.");
    module.def("arsinh_view", &view, "counts"_a.noconvert(), "seen"_a.noconvert(), "out"_a.noconvert(),
               "arsinh(counts) of what is seen, and masks; the first pixel that is not finite, or -1.");
    module.def("fold_quarters", &quarters, "images"_a.noconvert(), "threads"_a, "mean"_a.noconvert(),
               "share"_a.noconvert(), "log_scale"_a.noconvert(),
               "The four mirror images of every cell as one quarter.");
    module.def("half_to_single", &singles, "halves"_a.noconvert(), "out"_a.noconvert(),
               "Bits of numbers in half precision as single precision.");
}

}  // namespace insdl::bindings
