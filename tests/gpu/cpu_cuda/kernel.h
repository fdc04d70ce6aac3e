// What a compiled kernel tells the driver.
#pragma once
#include <cstddef>

#include "vector_types.h"

constexpr size_t SHARED_MEMORY = 48 << 10;        // size of dynamic shared memory that any kernel may use, in bytes
constexpr size_t MOST_SHARED_MEMORY = 227 << 10;  // size that a kernel may be allowed to use
constexpr unsigned MOST_BLOCKS = 8;               // of a cluster

struct Launch {
    dim3 grid, block;
    size_t shared;   // size of dynamic shared memory
    bool backwards;  // whether the last thread and the last block of a cluster run first
};

struct Kernel {
    const char* name;
    int arguments;
    const size_t* sizes;  // of the arguments, in bytes
    unsigned cluster;     // number of blocks of a cluster
    void (*run)(void** values, const Launch& launch);
};
