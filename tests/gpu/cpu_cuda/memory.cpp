// Memory of the GPUs. New and freed memory contains NaN. Freed memory is kept for a while to detect writes to it.
#include "device.h"

#include <cstdlib>
#include <cstring>
#include <map>

namespace {
constexpr int POISON = 0xFF;  // as float32 and float64: NaN
constexpr size_t ALIGNMENT = 512;
constexpr size_t KEPT = 16 << 20;  // maximum size of the freed memory that is kept, in bytes

struct Block {
    size_t size;
    int device;
};

std::recursive_mutex mutex;
std::map<char*, Block> blocks;
std::map<char*, size_t> pinned;
std::deque<std::pair<char*, size_t>> freed;
size_t kept = 0;

template <class Blocks>
auto containing(Blocks& blocks, const void* pointer) {
    auto after = blocks.upper_bound(const_cast<char*>(static_cast<const char*>(pointer)));
    return after == blocks.begin() ? blocks.end() : std::prev(after);
}
}  // namespace

long used_bytes(int index) {
    Lock lock(mutex);
    long used = 0;
    for (auto& [start, block] : blocks)
        if (block.device == index) used += block.size;
    return used;
}

cudaError_t allocate(void** pointer, size_t size) {
    Lock lock(mutex);
    if (used_bytes(current_device()) + (long)size > settings.memory) return failed(cudaErrorMemoryAllocation);
    auto* start = static_cast<char*>(aligned_alloc(ALIGNMENT, (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT));
    memset(start, POISON, size);
    blocks[start] = {size, current_device()};
    *pointer = start;
    return cudaSuccess;
}

cudaError_t release(void* pointer) {
    if (!pointer) return cudaSuccess;
    if (cudaError_t error = run_all()) return error;
    Lock lock(mutex);
    auto found = blocks.find(static_cast<char*>(pointer));
    if (found == blocks.end()) return failed(cudaErrorInvalidValue);
    auto [start, block] = *found;
    blocks.erase(found);
    memset(start, POISON, block.size);
    freed.push_back({start, block.size});
    for (kept += block.size; kept > KEPT; freed.pop_front()) {
        kept -= freed.front().second;
        free(freed.front().first);
    }
    return cudaSuccess;
}

cudaError_t check_freed() {
    Lock lock(mutex);
    cudaError_t error = cudaSuccess;
    for (auto& [start, size] : freed) {
        bool intact = !size || ((unsigned char)*start == POISON && !memcmp(start, start + 1, size - 1));
        if (intact) continue;
        memset(start, POISON, size);
        error = failed(cudaErrorIllegalAddress);
    }
    return error;
}

void* allocate_pinned(size_t size) {
    Lock lock(mutex);
    auto* start = static_cast<char*>(malloc(size));
    pinned[start] = size;
    return start;
}

void release_pinned(void* pointer) {
    Lock lock(mutex);
    pinned.erase(static_cast<char*>(pointer));
    free(pointer);
}

bool on_device(const void* pointer) {
    Lock lock(mutex);
    auto found = containing(blocks, pointer);
    return found != blocks.end() && pointer < found->first + found->second.size;
}

bool is_pinned(const void* pointer) {
    Lock lock(mutex);
    auto found = containing(pinned, pointer);
    return found != pinned.end() && pointer < found->first + found->second;
}
