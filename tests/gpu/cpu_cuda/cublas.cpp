// cuBLAS: the matrix products that minichar and CuPy call. Matrices are column-major, as in Fortran.
#include <complex>
#include <cstring>
#include <type_traits>

#include "device.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {
using Complex = std::complex<double>;
enum Status { SUCCESS = 0, ALLOC_FAILED = 3, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Type { FLOAT = 0, DOUBLE = 1, COMPLEX_DOUBLE = 5 };  // cudaDataType
constexpr int TF32 = 3;                                   // CUBLAS_TF32_TENSOR_OP_MATH
constexpr unsigned TF32_BITS = 0xFFFFE000;                // sign, exponent and 10 bits of the mantissa

struct Handle {
    cudaStream_t stream = nullptr;
    void* workspace = nullptr;
    int math = 0, pointers = 0;
};

// A batch of matrices: data, leading dimension, distance between matrices, and whether each is transposed.
template <class T>
struct Matrices {
    T* data;
    long leading, distance;
    bool transposed = false;

    // Return a copy of matrix q, without padding and not transposed.
    std::vector<std::remove_const_t<T>> packed(long q, long rows, long columns, bool tf32) const {
        std::vector<std::remove_const_t<T>> copy(rows * columns);
        const T* start = data + q * distance;
        for (long j = 0; j < columns; j++)
            for (long i = 0; i < rows; i++) {
                auto value = transposed ? start[i * leading + j] : start[j * leading + i];
                if constexpr (std::is_same_v<decltype(value), float>)
                    if (tf32) {
                        unsigned bits;
                        memcpy(&bits, &value, sizeof bits);
                        bits &= TF32_BITS;
                        memcpy(&value, &bits, sizeof bits);
                    }
                copy[j * rows + i] = value;
            }
        return copy;
    }
};

// C = alpha · A @ B + beta · C for each matrix of a batch
template <class T>
int multiply(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, Matrices<const T> A,
             Matrices<const T> B, const void* beta, Matrices<T> C, int batch = 1) {
    auto& h = *static_cast<Handle*>(handle);
    if (m < 0 || n < 0 || k < 0 || batch < 0 || A.leading < std::max(1, ta ? k : m) ||
        B.leading < std::max(1, tb ? n : k) || C.leading < std::max(1, m))
        return INVALID_VALUE;
    if (stream_of(h.stream).capture && !h.workspace) return ALLOC_FAILED;
    A.transposed = ta, B.transposed = tb;
    T a = *static_cast<const T*>(alpha), b = *static_cast<const T*>(beta);
    bool tf32 = h.math == TF32;
    cudaError_t error = push(h.stream, "product", [=] {
        for (long q = 0; q < batch; q++) {
            auto left = A.packed(q, m, k, tf32), right = B.packed(q, k, n, tf32);
            for (long j = 0; j < n; j++) {
                std::vector<T> column(m);
                for (long l = 0; l < k; l++)
                    for (long i = 0; i < m; i++) column[i] += left[l * m + i] * right[j * k + l];
                T* out = C.data + q * C.distance + j * C.leading;
                for (long i = 0; i < m; i++) out[i] = a * column[i] + (b == T(0) ? T(0) : b * out[i]);
            }
        }
    });
    return error ? EXECUTION_FAILED : SUCCESS;
}
}  // namespace

API int cublasCreate_v2(void** handle) {
    *handle = new Handle;
    return SUCCESS;
}

API int cublasDestroy_v2(void* handle) {
    delete static_cast<Handle*>(handle);
    return SUCCESS;
}

API int cublasGetVersion_v2(void*, int* version) {
    *version = CUDART_VERSION * 10;
    return SUCCESS;
}

API const char* cublasGetStatusName(int status) {
    return status == INVALID_VALUE      ? "CUBLAS_STATUS_INVALID_VALUE"
           : status == ALLOC_FAILED     ? "CUBLAS_STATUS_ALLOC_FAILED"
           : status == EXECUTION_FAILED ? "CUBLAS_STATUS_EXECUTION_FAILED"
                                        : "CUBLAS_STATUS_NOT_SUPPORTED";
}

API int cublasSetMathMode(void* handle, int mode) {
    static_cast<Handle*>(handle)->math = mode;
    return SUCCESS;
}

API int cublasGetMathMode(void* handle, int* mode) {
    *mode = static_cast<Handle*>(handle)->math;
    return SUCCESS;
}

API int cublasSetPointerMode_v2(void* handle, int mode) {
    static_cast<Handle*>(handle)->pointers = mode;
    return SUCCESS;
}

API int cublasGetPointerMode_v2(void* handle, int* mode) {
    *mode = static_cast<Handle*>(handle)->pointers;
    return SUCCESS;
}

// As in cuBLAS, this discards the workspace.
API int cublasSetStream_v2(void* handle, cudaStream_t stream) {
    auto& h = *static_cast<Handle*>(handle);
    h.stream = stream, h.workspace = nullptr;
    return SUCCESS;
}

API int cublasGetStream_v2(void* handle, cudaStream_t* stream) {
    *stream = static_cast<Handle*>(handle)->stream;
    return SUCCESS;
}

API int cublasSetWorkspace_v2(void* handle, void* workspace, size_t) {
    if (!on_device(workspace) || (size_t)workspace % 256) return INVALID_VALUE;
    static_cast<Handle*>(handle)->workspace = workspace;
    return SUCCESS;
}

#define GEMM(LETTER, T)                                                                                            \
    API int cublas##LETTER##gemm_v2(void* handle, int ta, int tb, int m, int n, int k, const T* alpha, const T* a, \
                                    int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {                  \
        return multiply<T>(handle, ta, tb, m, n, k, alpha, {a, lda, 0}, {b, ldb, 0}, beta, {c, ldc, 0});           \
    }
GEMM(S, float)
GEMM(D, double)
GEMM(Z, Complex)

API int cublasGemmStridedBatchedEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha,
                                   const void* a, int, int lda, long long da, const void* b, int, int ldb,
                                   long long db, const void* beta, void* c, int type, int ldc, long long dc,
                                   int batch, int, int) {
    auto as = [&]<class T>(T*) {
        return multiply<T>(handle, ta, tb, m, n, k, alpha, {(const T*)a, lda, da}, {(const T*)b, ldb, db}, beta,
                           {(T*)c, ldc, dc}, batch);
    };
    return type == FLOAT            ? as((float*)nullptr)
           : type == DOUBLE         ? as((double*)nullptr)
           : type == COMPLEX_DOUBLE ? as((Complex*)nullptr)
                                    : NOT_SUPPORTED;
}

API int cublasGemmEx(void* handle, int ta, int tb, int m, int n, int k, const void* alpha, const void* a, int at,
                     int lda, const void* b, int bt, int ldb, const void* beta, void* c, int ct, int ldc, int ctype,
                     int algorithm) {
    return cublasGemmStridedBatchedEx(handle, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct,
                                      ldc, 0, 1, ctype, algorithm);
}

// CuPy uses batches of pointers for complex products. The pointers are in device memory.
API int cublasZgemmBatched(void* handle, int ta, int tb, int m, int n, int k, const Complex* alpha,
                           const Complex* const* a, int lda, const Complex* const* b, int ldb, const Complex* beta,
                           Complex* const* c, int ldc, int batch) {
    cudaStreamSynchronize(static_cast<Handle*>(handle)->stream);
    for (int q = 0; q < batch; q++)
        if (int status = multiply<Complex>(handle, ta, tb, m, n, k, alpha, {a[q], lda, 0}, {b[q], ldb, 0}, beta,
                                           {c[q], ldc, 0}))
            return status;
    return SUCCESS;
}
