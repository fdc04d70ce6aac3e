// CUDA C for g++. The blocks of a grid run one after another, and so do the threads of a block. If a kernel
// synchronises threads, each is a fiber that runs up to the next synchronisation. The blocks of a cluster also run
// one after another, each up to the next synchronisation of the cluster.
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
#undef __cluster_dims__
#undef __restrict__
#define __global__
#define __device__
#define __host__
#define __constant__
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)

static dim3 gridDim, blockDim;
static uint3 threadIdx, blockIdx;
constexpr int warpSize = 32;

// ---- Threads

// A context is only used to enter a fiber for the first time, because switching contexts is a system call.
struct Fiber {
    ucontext_t context;
    jmp_buf resumed;
    std::unique_ptr<char[]> stack;
    bool entered;
    enum { READY, AT_CLUSTER_BARRIER, DONE } state;
    uint3 thread, block;
    char* shared;
};
constexpr size_t STACK = 64 << 10;
static jmp_buf scheduler;
static Fiber* running;
static void (*body)(void**);
static void** values;
static char* shared_memory;  // of the running block
static unsigned cluster = 1;  // number of blocks of a cluster

static void pause_fiber() {
    if (!_setjmp(running->resumed)) _longjmp(scheduler, 1);
}

static void resume_fiber(Fiber& fiber) {
    running = &fiber;
    threadIdx = fiber.thread, blockIdx = fiber.block, shared_memory = fiber.shared;
    if (_setjmp(scheduler)) return;
    if (fiber.entered) _longjmp(fiber.resumed, 1);
    fiber.entered = true;
    setcontext(&fiber.context);
}

static void enter_fiber() {
    for (;;) {
        body(values);
        running->state = Fiber::DONE;
        pause_fiber();  // until it runs a thread of another block
    }
}

static void __syncthreads() { pause_fiber(); }
static void __syncwarp(unsigned = 0) { pause_fiber(); }  // waits for more threads than it must
static void __cluster_barrier_arrive() { running->state = Fiber::AT_CLUSTER_BARRIER; }
static void __cluster_barrier_wait() { pause_fiber(); }
static void* __cluster_map_shared_rank(const void* p, unsigned rank) {
    return (char*)p + ((long)rank - (long)(blockIdx.x % cluster)) * (long)MOST_SHARED_MEMORY;
}
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

// Run the threads of a block, each up to its next synchronisation, until all have reached a barrier of the cluster
// or the end.
static void run_block(unsigned rank, unsigned threads, bool backwards) {
    for (bool left = true; left;) {
        left = false;
        for (unsigned i = 0; i < threads; i++) {
            Fiber& next = fiber(rank * threads + (backwards ? threads - 1 - i : i));
            if (next.state == Fiber::READY) resume_fiber(next);
            left |= next.state == Fiber::READY;
        }
    }
}

// Run the blocks of a cluster, each up to the next synchronisation of the cluster. A block that starts fills its
// shared memory with NaN, because no other block may use it before.
static void run_cluster(uint3 first, const Launch& launch) {
    alignas(256) static char shared[MOST_BLOCKS][MOST_SHARED_MEMORY];
    unsigned threads = launch.block.x * launch.block.y * launch.block.z;
    for (unsigned i = 0; i < cluster * threads; i++) {
        unsigned x = i % threads, rank = i / threads;
        Fiber& made = fiber(i);
        made.state = Fiber::READY;
        made.thread = make_uint3(x % blockDim.x, x / blockDim.x % blockDim.y, x / blockDim.x / blockDim.y);
        made.block = make_uint3(first.x + rank, first.y, first.z);
        made.shared = shared[rank];
    }
    for (bool left = true, started = false; left; started = true) {
        left = false;
        for (unsigned i = 0; i < cluster; i++) {
            unsigned rank = launch.backwards ? cluster - 1 - i : i;
            if (!started) memset(shared[rank], 0xFF, launch.shared);
            run_block(rank, threads, launch.backwards);
        }
        for (unsigned i = 0; i < cluster * threads; i++) {
            if (fiber(i).state != Fiber::AT_CLUSTER_BARRIER) continue;
            fiber(i).state = Fiber::READY;
            left = true;
        }
    }
}

static void run_grid(void (*function)(void**), void** arguments, bool synchronises, const Launch& launch) {
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | _MM_FLUSH_ZERO_ON | _MM_DENORMALS_ZERO_ON);  // CuPy compiles with -ftz=true
    const dim3 grid = launch.grid, block = launch.block;
    gridDim = grid, blockDim = block, body = function, values = arguments;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x += cluster) {
                if (synchronises) {
                    run_cluster(make_uint3(x, y, z), launch);
                    continue;
                }
                blockIdx = make_uint3(x, y, z);
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
#define CPU_CUDA_KERNEL(NAME, SYNCHRONISES, CLUSTER_SIZE)                                      \
    extern "C" const Kernel cpu_cuda_kernel_##NAME;                                            \
    const Kernel cpu_cuda_kernel_##NAME = {                                                    \
        #NAME, decltype(signature(&NAME))::count, decltype(signature(&NAME))::sizes,           \
        CLUSTER_SIZE, [](void** values, const Launch& launch) {                                \
            cluster = CLUSTER_SIZE;                                                            \
            run_grid([](void** values) { call(&NAME, values); }, values, SYNCHRONISES, launch);  \
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
