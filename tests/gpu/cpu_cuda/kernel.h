// What a compiled kernel tells the driver.
#pragma once
#include <cstddef>

#include "vector_types.h"

constexpr size_t SHARED_MEMORY = 48 << 10;  // maximum size of dynamic shared memory, in bytes

struct Kernel {
    const char* name;
    int arguments;
    const size_t* sizes;  // of the arguments, in bytes
    void (*run)(void** values, dim3 grid, dim3 block);
};
