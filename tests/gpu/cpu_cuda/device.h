// A GPU that computes on the CPU: its streams, events, graphs and memory. The CUDA driver, the CUDA runtime,
// cuBLAS and NCCL in this folder are thin layers over these functions.
#pragma once
#include <cuda_runtime_api.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

using Operation = std::function<void()>;
using Lock = std::unique_lock<std::recursive_mutex>;

struct Device;
struct Stream;

struct Graph;
using Shared = std::shared_ptr<Graph>;  // by streams, events, the graph, its executable graphs and their launches

struct Event {
    Stream* stream = nullptr;
    unsigned long recorded = 0;   // number of the last record
    unsigned long completed = 0;  // number of the last record that its stream has reached
    Shared capture;               // if the last record was captured
    std::vector<size_t> last;     // the nodes that it waits for
};

// A work item of a stream: an operation, a record of an event, or a wait for one.
struct Work {
    unsigned long number;
    Operation run;
    Event* event = nullptr;
    unsigned long awaited = 0;  // number of the record to wait for
};

struct Node {
    Operation run;
    std::vector<size_t> needs;  // the nodes that run before
    long stream, depth;         // number of the stream within the graph; length of the longest chain that ends here
};

struct Graph {
    std::vector<Node> nodes;
    std::vector<Stream*> streams;  // in the order in which they joined the capture
};

struct Stream {
    Device* device;
    bool blocking = true;  // waits for the default stream, and vice versa
    std::deque<Work> queue;
    Shared capture;
    std::vector<size_t> last;  // the captured nodes that the next one needs
    bool invalidated = false;  // a call that cannot be captured was made during capture
};

struct Device {
    int index;
    std::recursive_mutex mutex;
    Stream standard;  // the legacy default stream
    std::vector<Stream*> streams;
    int running = 0;  // nesting depth of the work items that are being run
};

// What a test can change with cpu_cuda_set.
struct Settings {
    long devices = 2;      // CuPy reads the number when it is imported
    long memory = 16L << 30;  // bytes per device
    long early = 0;           // order in which streams run (see push)
    long driver = 12080;      // version
    long backwards = 0;       // whether the last thread of a block runs first
};
extern Settings settings;

int current_device();
Device& device(int index);
Stream& stream_of(cudaStream_t handle);

// Count an operation that the host launches, by kind.
void count(const std::string& kind);

// Add an operation to a stream or, during capture, to its graph.
cudaError_t push(cudaStream_t handle, const std::string& kind, Operation run);

// Run the work of a stream, up to and including the item with the given number.
void run(Stream& stream, unsigned long last = ~0UL);

// Run one work item of a device that no thread is running. Return whether there was one.
bool advance(Device& device);

// Run all work of the current device. Fails during capture.
cudaError_t run_all();

// Set and return the error of the last call of this thread.
cudaError_t failed(cudaError_t error);
cudaError_t last_error(bool clear);

// Memory (memory.cpp). check_freed() fails, once, if freed device memory has been written.
cudaError_t allocate(void** pointer, size_t size);
cudaError_t release(void* pointer);
void* allocate_pinned(size_t size);
void release_pinned(void* pointer);
bool on_device(const void* pointer);
bool is_pinned(const void* pointer);
long used_bytes(int index);
cudaError_t check_freed();
