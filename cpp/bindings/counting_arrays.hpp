#pragma once
// What counting noise needs besides expected images, checked.

#include "arrays.hpp"
#include "insdl/counting.hpp"

namespace insdl::bindings {

// scale: (n_images); background: (n_images, n_bins); sigma: (n_images, n_bins) or None; index: (n_images).
struct CountingArrays {
    std::uint64_t key;
    Array<std::uint64_t> index;
    bool relative;
    Array<float> scale, background;
    py::object sigma;
    float lowest, highest;

    // The input of the core; `sigmas` keeps what it looks at.
    CountingInput checked(py::ssize_t images, py::ssize_t bins, py::ssize_t pixels, Array<float>& sigmas) const {
        expect_shape(scale, "scale", {images});
        expect_shape(background, "background", {images, bins});
        expect_shape(index, "index", {images});
        if (!sigma.is_none()) {
            sigmas = sigma.cast<Array<float>>();
            expect_shape(sigmas, "sigma", {images, bins});
        }
        return {key,
                index.data(),
                images,
                bins,
                pixels,
                relative ? CountLevel::kRelative : CountLevel::kAbsolute,
                scale.data(),
                background.data(),
                sigma.is_none() ? nullptr : sigmas.data(),
                lowest,
                highest};
    }
};

}  // namespace insdl::bindings
