// As in float16.cuh, CuPy's headers only need the declarations.
#pragma once
#include "float16.cuh"
struct bfloat16 : float16 {
    using float16::float16;
};
