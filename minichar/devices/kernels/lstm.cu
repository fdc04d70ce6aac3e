// The LSTM of minichar/engine/lstm.py, for one unit of one sequence.

// Return h. On entry, `state` is c_prev, and on exit it is c.
__device__ float cell_forward(const float* u, const float* a, float& state, float* cache) {
    const float c_prev = state;

    const float i = sigmoid(a[0] + u[0]);
    const float f = sigmoid(a[1] + u[1]);
    const float o = sigmoid(a[2] + u[2]);
    const float g = tanhf(a[3] + u[3]);
    const float c = f * c_prev + i * g;
    const float tanh_c = tanhf(c);
    const float h = o * tanh_c;

    cache[0] = i, cache[1] = f, cache[2] = o, cache[3] = g, cache[4] = tanh_c;
    state = c;
    return h;
}

// Compute da. On entry, `dstate` is dc, and on exit it is dc_prev.
__device__ void cell_backward(float dh, float& dstate, const float* cache, float c_prev, float* du, float* da) {
    const float i = cache[0], f = cache[1], o = cache[2], g = cache[3], tanh_c = cache[4];

    // h = o ∘ tanh(c)
    const float d_o = dh * tanh_c;  // `do` is a keyword
    const float dc = dstate + dh * o * (1.0f - tanh_c * tanh_c);

    // c = f ∘ c_prev + i ∘ g
    const float df = dc * c_prev, dc_prev = dc * f;
    const float di = dc * g, dg = dc * i;

    // i, f, o = σ(a_i), σ(a_f), σ(a_o);  g = tanh(a_g)
    da[0] = di * i * (1.0f - i);
    da[1] = df * f * (1.0f - f);
    da[2] = d_o * o * (1.0f - o);
    da[3] = dg * (1.0f - g * g);

    for (int k = 0; k < GATES; k++) du[k] = da[k];  // since a and u are added
    dstate = dc_prev;
}
