// The logistic sigmoid of minichar/engine/functions.py. Where e⁻ᵃ overflows, the result is 0, which is correct.
__device__ float sigmoid(float a) { return 1.0f / (1.0f + expf(-a)); }
