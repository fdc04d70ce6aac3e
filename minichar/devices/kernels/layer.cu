// A recurrent layer over consecutive steps in one kernel, forward and backward (docs/chunk-kernel.md).
//
//   forward     t = 0 … T-1      u = W_h @ h_{t-1} + bias;  h_t, cache_t = cell_forward(u, a_t)
//   backward    t = T-1 … 0      dh_t = dh_above_t + W_hᵀ @ du_{t+1};  du_t, da_t = cell_backward(dh_t, cache_t)
//
// a_t = W_x @ x_t does not depend on h, so it has already been computed for all steps. A block reads W_h once and
// then keeps it in registers and shared memory.
//
// Sequences are independent, so each is computed by a block that never waits for another. With H = 256, W_h is too
// large for a block. A cluster of C = 4 blocks then divides the units: each block has the weights for H / C units,
// and sends what it computes to the other blocks.
//
// The cell's file precedes this one. It computes one unit of one sequence. minichar/devices/chunk_kernel.py defines
// the names in capitals that are not defined here.

constexpr int UNITS = H / C;                               // units of a block
constexpr int ROWS = GATES * UNITS;                        // rows of W for these units
constexpr int OWN = H * ROWS / THREADS;                    // weights of a thread
constexpr int NEAR = OWN < NEAR_LIMIT ? OWN : NEAR_LIMIT;  // those in registers
constexpr int FAR = OWN > NEAR ? OWN - NEAR : 1;           // those in shared memory (an array cannot be empty)
static_assert(OWN % 4 == 0 && H <= THREADS, "the sizes do not suit the kernel");

#if C > 1
#define CLUSTER __cluster_dims__(C, 1, 1)
__device__ void sync_cluster() { __cluster_barrier_arrive(), __cluster_barrier_wait(); }
__device__ float* in_block(float* p, int rank) { return (float*)__cluster_map_shared_rank(p, rank); }
#else
#define CLUSTER
__device__ void sync_cluster() { __syncthreads(); }
__device__ float* in_block(float* p, int rank) { return p; }
#endif

__device__ float dot(float a, float b, float c, float d, float4 v) { return a * v.x + b * v.y + c * v.z + d * v.w; }

// The matrix product M @ v for a vector v of LENGTH elements. The block computes R elements of the result.
// THREADS / R threads share a row of M: each multiplies a part of the row, OWN consecutive weights.
template <int LENGTH, int R>
struct Product {
    struct Shared {
        float v[2][LENGTH];  // for even and odd steps: a block may still read one while another sends the next
        float sums[THREADS / R][R];
        float far[FAR][THREADS];
    };
    static_assert(sizeof(Shared) <= SHARED, "the host must reserve more shared memory");

    Shared& shared;
    float near[NEAR], bias;
    const int row = threadIdx.x % R, part = threadIdx.x / R;

    __device__ Product(char* memory) : shared(*reinterpret_cast<Shared*>(memory)), bias(0.0f) {}

    // Read this thread's weights. The elements of the row are M[0], M[stride], M[2 * stride] and so on.
    __device__ void load(const float* M, int stride) {
        M += part * OWN * stride;
#pragma unroll  // registers have no addresses, so each index must be a constant
        for (int k = 0; k < NEAR; k++) near[k] = M[k * stride];
#pragma unroll 1
        for (int k = NEAR; k < OWN; k++) shared.far[k - NEAR][threadIdx.x] = M[k * stride];
    }

    // Multiply this thread's weights by its part of v at step t, which is read four elements at a time.
    __device__ void multiply(int t) {
        const float4* v = reinterpret_cast<float4*>(&shared.v[t % 2][part * OWN]);
        float sum = bias;
#pragma unroll
        for (int k = 0; k < NEAR; k += 4) sum += dot(near[k], near[k + 1], near[k + 2], near[k + 3], v[k / 4]);
#pragma unroll 2
        for (int k = NEAR; k < OWN; k += 4) {
            const float(*w)[THREADS] = shared.far + (k - NEAR);
            const int i = threadIdx.x;
            sum += dot(w[0][i], w[1][i], w[2][i], w[3][i], v[k / 4]);
        }
        shared.sums[part][row] = sum;
    }

    // Return an element of the result, after all threads have multiplied.
    __device__ float result(int row) {
        float sum = 0.0f;
        for (int part = 0; part < THREADS / R; part++) sum += shared.sums[part][row];
        return sum;
    }

    // Set v[k] for step t in all blocks of the cluster.
    __device__ void send(int t, int k, float value) {
        for (int rank = 0; rank < C; rank++) *in_block(&shared.v[t % 2][k], rank) = value;
    }
};

// W (GATES·H, columns) has W_h in its first columns and the bias in the last, which is used if share > H;
// states (T+1, STATES, H, B), of which those before step 0 are given; cache (T, CACHED, H, B).
// The steps of a row of a (T, GATES·H, B) are adjacent, as in the matrix products over all steps. `distance` is that
// between rows.
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, 1)
layer_forward(const float* W, int columns, int share, const float* a, int distance, float* states, float* cache, int T,
              int B) {
    extern __shared__ __align__(16) char memory[];
    const int rank = blockIdx.x % C, b = blockIdx.x / C, size = H * B;

    Product<H, ROWS> product(memory);
    const int row = product.row / UNITS * H + rank * UNITS + product.row % UNITS;
    product.load(W + row * columns, 1);
    if (product.part == 0 && share > H) product.bias = W[row * columns + columns - 1];
    if (threadIdx.x < H) product.shared.v[0][threadIdx.x] = states[threadIdx.x * B + b];

    // The first threads also compute one unit each.
    const bool is_cell = threadIdx.x < UNITS;
    const int unit = rank * UNITS + threadIdx.x, at = unit * B + b;
    float state = is_cell ? states[(STATES - 1) * size + at] : 0.0f;
    sync_cluster();

    for (int t = 0; t < T; t++) {
        float u[GATES], a_t[GATES], cache_t[CACHED];
        if (is_cell)  // memory is slow, so start reading before the product
            for (int g = 0; g < GATES; g++) a_t[g] = a[(g * H + unit) * distance + t * B + b];

        product.multiply(t);
        __syncthreads();

        if (is_cell) {
            for (int g = 0; g < GATES; g++) u[g] = product.result(g * UNITS + threadIdx.x);
            const float h = cell_forward(u, a_t, state, cache_t);
            product.send(t + 1, unit, h);
            states[(t + 1) * STATES * size + at] = h;
            states[((t + 2) * STATES - 1) * size + at] = state;
            for (int k = 0; k < CACHED; k++) cache[(t * CACHED + k) * size + at] = cache_t[k];
        }
        sync_cluster();
    }
}

// W, states and cache as above; dstates (H, B), from the later steps and for the earlier ones;
// dh_above (T, H, B), du and, if the cell has two products, da (T, GATES·H, B), with the same distance between rows
extern "C" __global__ void CLUSTER __launch_bounds__(THREADS, 1)
layer_backward(const float* W, int columns, const float* dh_above, float* dstates, const float* states,
               const float* cache, float* du, float* da, int distance, int T, int B) {
    extern __shared__ __align__(16) char memory[];
    const int rank = blockIdx.x % C, b = blockIdx.x / C, size = H * B;

    Product<GATES * H, UNITS> product(memory);  // of W_hᵀ, whose rows are the columns of W_h
    product.load(W + rank * UNITS + product.row, columns);

    const bool is_cell = threadIdx.x < UNITS;
    const int unit = rank * UNITS + threadIdx.x, at = unit * B + b;
    float dstate = is_cell ? dstates[at] : 0.0f;
    float dh, state_prev, cache_t[CACHED];
    auto read = [&](int t) {
        if (!is_cell || t < 0) return;
        dh = dh_above[unit * distance + t * B + b];
        state_prev = states[((t + 1) * STATES - 1) * size + at];
        for (int k = 0; k < CACHED; k++) cache_t[k] = cache[(t * CACHED + k) * size + at];
    };
    read(T - 1);  // memory is slow, so each step is read before the product of the step that follows it
    sync_cluster();

    for (int t = T - 1; t >= 0; t--) {
        if (is_cell) {
            float du_t[GATES], da_t[GATES];
            if (t < T - 1) dh += product.result(threadIdx.x);
            cell_backward(dh, dstate, cache_t, state_prev, du_t, da_t);
            for (int g = 0; g < GATES; g++) {
                product.send(t, g * H + unit, du_t[g]);
                const int place = (g * H + unit) * distance + t * B + b;
                du[place] = du_t[g];
                if (PRODUCTS == 2) da[place] = da_t[g];
            }
        }
        sync_cluster();

        read(t - 1);
        product.multiply(t);
        __syncthreads();
    }
    if (is_cell) dstates[at] = dstate;
}
