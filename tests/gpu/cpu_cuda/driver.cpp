// The CUDA driver: modules are shared libraries, whose kernels run on the CPU (kernel.h).
#include <cuda.h>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "device.h"
#include "kernel.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {
constexpr size_t MOST_THREADS = 1024;
constexpr size_t CONTEXT = 0x1000;  // context handle of device 0
std::mutex running;                 // kernels keep their indices in global variables
std::mutex allowing;
std::map<CUfunction, size_t> allowed;  // sizes of dynamic shared memory above SHARED_MEMORY

size_t most_shared_memory(CUfunction function) {
    std::lock_guard<std::mutex> lock(allowing);
    return allowed.count(function) ? std::max(allowed[function], SHARED_MEMORY) : SHARED_MEMORY;
}
}  // namespace

API CUresult cuGetErrorName(CUresult error, const char** name) {
    *name = cudaGetErrorName(static_cast<cudaError_t>(error));
    return CUDA_SUCCESS;
}

API CUresult cuGetErrorString(CUresult error, const char** text) { return cuGetErrorName(error, text); }

API CUresult cuCtxGetCurrent(CUcontext* context) {
    *context = reinterpret_cast<CUcontext>(CONTEXT + current_device());
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetCurrent(CUcontext context) {
    return static_cast<CUresult>(cudaSetDevice(reinterpret_cast<size_t>(context) - CONTEXT));
}

API CUresult cuCtxGetDevice(CUdevice* index) {
    *index = current_device();
    return CUDA_SUCCESS;
}

API CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    auto* header = static_cast<const Elf64_Ehdr*>(image);
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) || header->e_machine != EM_X86_64) return CUDA_ERROR_INVALID_IMAGE;
    size_t size = header->e_shoff + header->e_shnum * header->e_shentsize;
    int file = memfd_create("kernel", 0);
    if (write(file, image, size) != (ssize_t)size) return CUDA_ERROR_INVALID_IMAGE;
    void* library = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) fprintf(stderr, "cpu_cuda: %s\n", dlerror());
    if (!library) return CUDA_ERROR_INVALID_IMAGE;
    *module = static_cast<CUmodule>(library);  // the file stays open: dlopen compares the names of open libraries
    return CUDA_SUCCESS;
}

API CUresult cuModuleUnload(CUmodule) { return CUDA_SUCCESS; }  // queued work may use it

API CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    *function = static_cast<CUfunction>(dlsym(module, (std::string("cpu_cuda_kernel_") + name).c_str()));
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API CUresult cuFuncGetAttribute(int* value, CUfunction_attribute, CUfunction) {
    *value = MOST_THREADS;
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
    if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_NOT_SUPPORTED;
    if (value < 0 || (size_t)value > MOST_SHARED_MEMORY) return CUDA_ERROR_INVALID_VALUE;
    std::lock_guard<std::mutex> lock(allowing);
    allowed[function] = value;
    return CUDA_SUCCESS;
}

API CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                            unsigned bz, unsigned shared, CUstream stream, void** arguments, void**) {
    auto* kernel = reinterpret_cast<const Kernel*>(function);
    if (!gx || !gy || !gz || !bx || !by || !bz || (size_t)bx * by * bz > MOST_THREADS ||
        shared > most_shared_memory(function))
        return CUDA_ERROR_INVALID_VALUE;
    if (gx % kernel->cluster) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
    std::vector<std::vector<char>> copies;  // the caller's values may change before the kernel runs
    for (int i = 0; i < kernel->arguments; i++) {
        auto* value = static_cast<char*>(arguments[i]);
        copies.emplace_back(value, value + kernel->sizes[i]);
    }
    cudaError_t error = push(stream, std::string("kernel ") + kernel->name, [=]() mutable {
        std::vector<void*> values;
        for (auto& copy : copies) values.push_back(copy.data());
        std::lock_guard<std::mutex> lock(running);
        kernel->run(values.data(), {{gx, gy, gz}, {bx, by, bz}, shared, settings.backwards != 0});
    });
    return static_cast<CUresult>(error);
}
