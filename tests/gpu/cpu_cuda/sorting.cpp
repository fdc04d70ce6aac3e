// The sorts that CuPy takes from Thrust, of rows of float64 numbers. They are stable, and NaN comes last.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "device.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {
bool before(double a, double b) { return a < b || (std::isnan(b) && !std::isnan(a)); }
}  // namespace

API cudaError_t cpu_cuda_sort(cudaStream_t stream, double* data, size_t rows, size_t columns) {
    return push(stream, "sort", [=] {
        for (size_t r = 0; r < rows; r++) std::stable_sort(data + r * columns, data + (r + 1) * columns, before);
    });
}

API cudaError_t cpu_cuda_argsort(cudaStream_t stream, size_t* order, const double* data, size_t rows, size_t columns) {
    return push(stream, "sort", [=] {
        for (size_t r = 0; r < rows; r++) {
            size_t* first = order + r * columns;
            const double* row = data + r * columns;
            std::iota(first, first + columns, 0);
            std::stable_sort(first, first + columns, [row](size_t i, size_t j) { return before(row[i], row[j]); });
        }
    });
}
