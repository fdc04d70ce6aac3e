// CUDA C for g++. The blocks of a grid run one after another, and so do the threads of a block. If a kernel
// synchronises threads, each is a fiber that runs up to the next synchronisation.
#pragma once
#include <pmmintrin.h>
#include <setjmp.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "kernel.h"
#include "vector_functions.h"
#undef __global__
#undef __shared__
#undef __device__
#undef __host__
#undef __constant__
#undef __forceinline__
#undef __noinline__
#undef __launch_bounds__
#undef __restrict__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)

static dim3 gridDim, blockDim;
static uint3 threadIdx, blockIdx;
constexpr int warpSize = 32;

// ---- Threads

// A context is only used to enter a fiber for the first time, because switching contexts is a system call.
struct Fiber {
    ucontext_t context;
    jmp_buf resumed;
    std::unique_ptr<char[]> stack;
    bool entered, done;
    uint3 index;
};
constexpr size_t STACK = 64 << 10;
static jmp_buf scheduler;
static Fiber* running;
static void (*body)(void**);
static void** values;
alignas(256) static char shared_memory[SHARED_MEMORY];

static void pause_fiber() {
    if (!_setjmp(running->resumed)) _longjmp(scheduler, 1);
}

static void resume_fiber(Fiber& fiber) {
    running = &fiber;
    threadIdx = fiber.index;
    if (_setjmp(scheduler)) return;
    if (fiber.entered) _longjmp(fiber.resumed, 1);
    fiber.entered = true;
    setcontext(&fiber.context);
}

static void enter_fiber() {
    for (;;) {
        body(values);
        running->done = true;
        pause_fiber();  // until it runs a thread of another block
    }
}

static void __syncthreads() { pause_fiber(); }
static void __syncwarp(unsigned = 0) { pause_fiber(); }  // waits for more threads than it must
static void __threadfence() {}
static void __threadfence_block() {}

static Fiber& fiber(unsigned i) {
    static std::vector<std::unique_ptr<Fiber>> fibers;
    while (fibers.size() <= i) {
        auto made = std::make_unique<Fiber>();
        made->stack = std::make_unique<char[]>(STACK);
        getcontext(&made->context);
        made->context.uc_stack.ss_sp = made->stack.get();
        made->context.uc_stack.ss_size = STACK;
        makecontext(&made->context, enter_fiber, 0);
        fibers.push_back(std::move(made));
    }
    return *fibers[i];
}

static void run_fibers(unsigned threads) {
    for (unsigned i = 0; i < threads; i++) {
        fiber(i).done = false;
        fiber(i).index = make_uint3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
    }
    for (bool left = true; left;) {
        left = false;
        for (unsigned i = 0; i < threads; i++) {
            if (!fiber(i).done) resume_fiber(fiber(i));
            left |= !fiber(i).done;
        }
    }
}

static void run_grid(void (*function)(void**), void** arguments, bool synchronises, dim3 grid, dim3 block) {
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);  // CuPy compiles with -ftz=true
    gridDim = grid, blockDim = block, body = function, values = arguments;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = make_uint3(x, y, z);
                if (synchronises) {
                    memset(shared_memory, 0xFF, sizeof shared_memory);
                    run_fibers(block.x * block.y * block.z);
                    continue;
                }
                for (unsigned c = 0; c < block.z; c++)
                    for (unsigned b = 0; b < block.y; b++)
                        for (unsigned a = 0; a < block.x; a++) {
                            threadIdx = make_uint3(a, b, c);
                            function(arguments);
                        }
            }
    _mm_setcsr(mode);
}

// ---- Entry points

template <class... A>
struct Signature {
    static constexpr int count = sizeof...(A);
    static constexpr size_t sizes[count + 1] = {sizeof(A)..., 0};
};
template <class... A>
static constexpr Signature<A...> signature(void (*)(A...)) {
    return {};
}
template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** values, std::index_sequence<I...>) {
    kernel(*(std::remove_reference_t<A>*)values[I]...);
}
template <class... A>
static void call(void (*kernel)(A...), void** values) {
    call(kernel, values, std::index_sequence_for<A...>());
}
#define CPU_CUDA_KERNEL(NAME, SYNCHRONISES)                                                           \
    extern "C" const Kernel cpu_cuda_kernel_##NAME;                                                   \
    const Kernel cpu_cuda_kernel_##NAME = {                                                           \
        #NAME, decltype(signature(&NAME))::count, decltype(signature(&NAME))::sizes,                  \
        [](void** values, dim3 grid, dim3 block) {                                                    \
            run_grid([](void** values) { call(&NAME, values); }, values, SYNCHRONISES, grid, block);  \
        }};

// ---- CUDA's functions that CuPy's kernels use

using std::abs, std::atan2, std::ceil, std::copysign, std::cos, std::exp, std::exp2, std::expm1, std::fabs,
    std::floor, std::fma, std::fmod, std::frexp, std::hypot, std::isfinite, std::isinf, std::isnan, std::ldexp,
    std::log, std::log1p, std::log2, std::nextafter, std::pow, std::rint, std::signbit, std::sin, std::sqrt,
    std::tanh, std::trunc;
template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
static inline auto max(A a, B b) {
    using T = decltype(a + b);
    if constexpr (std::is_floating_point_v<T>) return std::fmax(T(a), T(b));  // ignores NaN
    else return T(a) < T(b) ? T(b) : T(a);
}
template <class A, class B, class = std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>>>
static inline auto min(A a, B b) {
    using T = decltype(a + b);
    if constexpr (std::is_floating_point_v<T>) return std::fmin(T(a), T(b));
    else return T(b) < T(a) ? T(b) : T(a);
}
static inline float rsqrt(float x) { return 1 / std::sqrt(x); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
template <class T>
static inline T __ldg(const T* p) {
    return *p;
}
template <class To, class From>
static inline To bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int x) { return bits<float>(x); }
static inline int __float_as_int(float x) { return bits<int>(x); }
static inline float __uint_as_float(unsigned x) { return bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return bits<unsigned>(x); }
static inline double __longlong_as_double(long long x) { return bits<double>(x); }
static inline long long __double_as_longlong(double x) { return bits<long long>(x); }
static inline int __double2hiint(double x) { return bits<long long>(x) >> 32; }
static inline int __double2loint(double x) { return bits<long long>(x); }
static inline double __hiloint2double(int h, int l) { return bits<double>((long long)h << 32 | (unsigned)l); }
#define CPU_CUDA_ATOMIC(NAME, RESULT)   \
    template <class T>                  \
    static inline T NAME(T* p, T v) {   \
        T old = *p;                     \
        *p = (RESULT);                  \
        return old;                     \
    }
CPU_CUDA_ATOMIC(atomicAdd, old + v)
CPU_CUDA_ATOMIC(atomicExch, v)
CPU_CUDA_ATOMIC(atomicMax, old < v ? v : old)
CPU_CUDA_ATOMIC(atomicMin, v < old ? v : old)
CPU_CUDA_ATOMIC(atomicOr, old | v)
CPU_CUDA_ATOMIC(atomicAnd, old& v)
template <class T>
static inline T atomicCAS(T* p, T compared, T v) {
    T old = *p;
    if (old == compared) *p = v;
    return old;
}
