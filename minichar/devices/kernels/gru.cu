// The GRU of minichar/engine/gru.py, for one unit of one sequence.

// Return h. On entry, `state` is h_prev, and on exit it is h.
__device__ float cell_forward(const float* u, const float* a, float& state, float* cache) {
    const float h_prev = state, u_n = u[2];

    const float r = sigmoid(a[0] + u[0]);
    const float z = sigmoid(a[1] + u[1]);
    const float n = tanhf(a[2] + r * u_n);
    const float h = (1.0f - z) * n + z * h_prev;

    cache[0] = r, cache[1] = z, cache[2] = n, cache[3] = u_n;
    state = h;
    return h;
}

// Compute du and da. On entry, `dstate` is the dh_prev of the next step, and on exit that of this step.
__device__ void cell_backward(float dh, float& dstate, const float* cache, float h_prev, float* du, float* da) {
    const float r = cache[0], z = cache[1], n = cache[2], u_n = cache[3];
    dh += dstate;

    // h = (1 - z) ∘ n + z ∘ h_prev
    const float dn = dh * (1.0f - z), dz = dh * (h_prev - n), dh_prev = dh * z;

    // n = tanh(a_n + r ∘ u_n)
    const float da_n = dn * (1.0f - n * n);
    const float dr = da_n * u_n, du_n = da_n * r;

    // r, z = σ(a_r + u_r), σ(a_z + u_z)
    du[0] = da[0] = dr * r * (1.0f - r);
    du[1] = da[1] = dz * z * (1.0f - z);
    du[2] = du_n, da[2] = da_n;
    dstate = dh_prev;
}
