// The CUDA runtime's functions for devices, memory and errors. streams.cpp has those for streams and graphs.
#include <cstdio>
#include <cstring>
#include <map>

#include "device.h"
#include "kernel.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {
const std::map<cudaError_t, const char*> NAMES{
    {cudaErrorInvalidValue, "cudaErrorInvalidValue"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver"},
    {cudaErrorNoDevice, "cudaErrorNoDevice"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice"},
    {cudaErrorIllegalState, "cudaErrorIllegalState"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress"},
    {cudaErrorNotSupported, "cudaErrorNotSupported"},
    {cudaErrorInvalidClusterSize, "cudaErrorInvalidClusterSize"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit"},
    {cudaErrorStreamCaptureMerge, "cudaErrorStreamCaptureMerge"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent"},
};
constexpr int MULTIPROCESSORS = 132, REGISTERS = 65536;

std::string kind_of_copy(const void* to, const void* from) {
    auto place = [](const void* at) { return on_device(at) ? "device" : is_pinned(at) ? "pinned" : "pageable"; };
    return std::string("copy ") + place(from) + " to " + place(to);
}
}  // namespace

API const char* cudaGetErrorName(cudaError_t error) {
    auto found = NAMES.find(error);
    return found == NAMES.end() ? "cudaErrorUnknown" : found->second;
}

API const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorMemoryAllocation ? "out of memory" : "an error of CUDA on the CPU";
}

API cudaError_t cudaGetLastError() { return last_error(true); }

API cudaError_t cudaPeekAtLastError() { return last_error(false); }

API cudaError_t cudaDriverGetVersion(int* version) {
    *version = settings.driver;
    return cudaSuccess;
}

API cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

API cudaError_t cudaGetDeviceCount(int* count) {
    *count = settings.devices;
    return *count ? cudaSuccess : failed(cudaErrorNoDevice);
}

API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
    if (index < 0 || index >= settings.devices) return failed(cudaErrorInvalidDevice);
    static const std::map<int, int> values{
        {cudaDevAttrComputeCapabilityMajor, 9},
        {cudaDevAttrComputeCapabilityMinor, 0},
        {cudaDevAttrMultiProcessorCount, MULTIPROCESSORS},
        {cudaDevAttrMaxThreadsPerBlock, 1024},
        {cudaDevAttrWarpSize, 32},
        {cudaDevAttrMaxSharedMemoryPerBlock, SHARED_MEMORY},
        {cudaDevAttrMaxRegistersPerBlock, REGISTERS},
        {cudaDevAttrMaxSharedMemoryPerBlockOptin, MOST_SHARED_MEMORY},
    };
    auto found = values.find(attribute);
    if (found == values.end()) return failed(cudaErrorNotSupported);
    *value = found->second;
    return cudaSuccess;
}

API cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int index) {
    snprintf(text, size, "0000:%02x:00.0", index + 1);
    return cudaSuccess;
}

API cudaError_t cudaGetDeviceProperties_v2(cudaDeviceProp* properties, int index) {
    if (index < 0 || index >= settings.devices) return failed(cudaErrorInvalidDevice);
    *properties = {};
    strcpy(properties->name, "CPU as a GPU");
    properties->totalGlobalMem = settings.memory;
    properties->sharedMemPerBlock = SHARED_MEMORY;
    properties->regsPerBlock = REGISTERS;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxGridSize[0] = 0x7fffffff;
    properties->maxGridSize[1] = properties->maxGridSize[2] = 0xffff;
    properties->major = 9;
    properties->multiProcessorCount = MULTIPROCESSORS;
    return cudaSuccess;
}

API cudaError_t cudaMalloc(void** pointer, size_t size) { return allocate(pointer, size); }

API cudaError_t cudaFree(void* pointer) { return release(pointer); }

API cudaError_t cudaHostAlloc(void** pointer, size_t size, unsigned) {
    *pointer = allocate_pinned(size);
    return cudaSuccess;
}

API cudaError_t cudaFreeHost(void* pointer) {
    if (cudaError_t error = run_all()) return error;
    release_pinned(pointer);
    return cudaSuccess;
}

API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    *total = settings.memory;
    *free = settings.memory - used_bytes(current_device());
    return cudaSuccess;
}

API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    *attributes = {};
    attributes->type = on_device(pointer)   ? cudaMemoryTypeDevice
                       : is_pinned(pointer) ? cudaMemoryTypeHost
                                            : cudaMemoryTypeUnregistered;
    attributes->device = current_device();
    attributes->devicePointer = const_cast<void*>(pointer);
    return cudaSuccess;
}

API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, cudaMemcpyKind, cudaStream_t stream) {
    std::string kind = kind_of_copy(to, from);
    if (on_device(from) || is_pinned(from)) return push(stream, kind, [=] { memcpy(to, from, size); });
    if (stream_of(stream).capture) {
        stream_of(stream).invalidated = true;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    auto* bytes = static_cast<const char*>(from);  // CUDA has read pageable memory when the call returns
    return push(stream, kind, [=, copy = std::vector<char>(bytes, bytes + size)] {
        memcpy(to, copy.data(), copy.size());
    });
}

API cudaError_t cudaMemcpy(void* to, const void* from, size_t size, cudaMemcpyKind kind) {
    if (cudaError_t error = cudaMemcpyAsync(to, from, size, kind, nullptr)) return error;
    return cudaStreamSynchronize(nullptr);
}

API cudaError_t cudaMemsetAsync(void* pointer, int value, size_t size, cudaStream_t stream) {
    return push(stream, "memset", [=] { memset(pointer, value, size); });
}

API cudaError_t cudaMemset(void* pointer, int value, size_t size) {
    return cudaMemsetAsync(pointer, value, size, nullptr);
}
