// Streams, events and capture. Work is deferred: it runs only when something waits for it. The order between
// streams is the worst that CUDA allows, so that a missing event gives wrong results.
#include "device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <set>

#define API extern "C" __attribute__((visibility("default")))

Settings settings;

namespace {
constexpr int MAXIMUM = 8;
std::atomic<unsigned long> numbers{0};
thread_local int current = 0;
thread_local cudaError_t error_of_thread = cudaSuccess;
std::mutex counting;
std::map<std::string, long> counts;
long nodes_of_last = 0, chain_of_last = 0;  // of the last graph

Device* make_device(int index) {
    auto* device = new Device{};
    device->index = index;
    device->standard.device = device;
    return device;
}

// Before work is added to the default stream, all blocking streams run, and vice versa.
cudaError_t synchronise_with_default(Stream& stream) {
    Device& device = *stream.device;
    if (&stream != &device.standard) {
        if (stream.blocking) run(device.standard);
        return cudaSuccess;
    }
    for (Stream* other : device.streams)
        if (other->blocking && other->capture) return failed(cudaErrorStreamCaptureImplicit);
    for (Stream* other : device.streams)
        if (other->blocking) run(*other);
    return cudaSuccess;
}

cudaError_t add(Stream& stream, Work work) {
    if (cudaError_t error = synchronise_with_default(stream)) return error;
    work.number = ++numbers;
    if (work.event) count(work.awaited ? "wait" : "event");
    if (work.event && !work.awaited) {
        work.event->stream = &stream;
        work.event->recorded = work.number;
    }
    stream.queue.push_back(std::move(work));
    if (settings.early && !stream.blocking) run(stream);
    return cudaSuccess;
}

// A call that is not allowed during capture invalidates the capture.
cudaError_t refuse(Stream& stream) {
    stream.invalidated = true;
    return failed(cudaErrorStreamCaptureUnsupported);
}

void join(Stream& stream, const Shared& graph) {
    stream.capture = graph;
    stream.invalidated = false;
    graph->streams.push_back(&stream);
}

// Return whether the last nodes of the first stream need all others, directly or not.
bool joined(const Graph& graph) {
    std::vector<bool> needed(graph.nodes.size());
    for (size_t node : graph.streams[0]->last) needed[node] = true;
    for (size_t node = graph.nodes.size(); node--;)
        for (size_t other : graph.nodes[node].needs)
            if (needed[node]) needed[other] = true;
    return std::ranges::find(needed, false) == needed.end();
}

// Run the nodes of a graph. Of those whose needs have run, that of the first stream is next, or of the last one.
void run(const Graph& graph) {
    std::vector<std::vector<size_t>> waiting(graph.nodes.size());
    std::vector<size_t> missing;
    std::set<std::pair<long, size_t>> ready;
    auto add = [&](size_t node) {
        long stream = graph.nodes[node].stream;
        ready.emplace(settings.early ? stream : -stream, node);
    };
    for (size_t node = 0; node < graph.nodes.size(); node++) {
        missing.push_back(graph.nodes[node].needs.size());
        for (size_t other : graph.nodes[node].needs) waiting[other].push_back(node);
        if (!missing[node]) add(node);
    }
    while (!ready.empty()) {
        size_t node = ready.extract(ready.begin()).value().second;
        graph.nodes[node].run();
        for (size_t other : waiting[node])
            if (!--missing[other]) add(other);
    }
}
}  // namespace

int current_device() { return current; }

Device& device(int index) {
    static Device* devices[MAXIMUM];
    static std::once_flag once;
    std::call_once(once, [] {
        for (int i = 0; i < MAXIMUM; i++) devices[i] = make_device(i);
    });
    return *devices[index];
}

Stream& stream_of(cudaStream_t handle) {
    bool standard = !handle || handle == cudaStreamLegacy || handle == cudaStreamPerThread;
    return standard ? device(current).standard : *reinterpret_cast<Stream*>(handle);
}

void count(const std::string& kind) {
    std::lock_guard<std::mutex> lock(counting);
    counts[kind]++;
}

cudaError_t failed(cudaError_t error) { return error_of_thread = error; }

cudaError_t last_error(bool clear) {
    cudaError_t error = error_of_thread;
    if (clear) error_of_thread = cudaSuccess;
    return error;
}

cudaError_t push(cudaStream_t handle, const std::string& kind, Operation run) {
    Stream& stream = stream_of(handle);
    Lock lock(stream.device->mutex);
    count(kind);
    if (!stream.capture) return add(stream, {0, std::move(run)});
    if (stream.invalidated) return failed(cudaErrorStreamCaptureInvalidated);
    Graph& graph = *stream.capture;
    long depth = 0, number = std::ranges::find(graph.streams, &stream) - graph.streams.begin();
    for (size_t other : stream.last) depth = std::max(depth, graph.nodes[other].depth);
    graph.nodes.push_back({std::move(run), std::move(stream.last), number, depth + 1});
    stream.last = {graph.nodes.size() - 1};
    return cudaSuccess;
}

void run(Stream& stream, unsigned long last) {
    Lock lock(stream.device->mutex);
    while (!stream.queue.empty() && stream.queue.front().number <= last) {
        Work work = std::move(stream.queue.front());
        stream.queue.pop_front();
        if (work.awaited) {
            if (work.event->completed < work.awaited) run(*work.event->stream, work.awaited);
        } else if (work.event) {
            work.event->completed = std::max(work.event->completed, work.number);
        } else {
            stream.device->running++;
            work.run();
            stream.device->running--;
        }
    }
}

bool advance(Device& device) {
    Lock lock(device.mutex, std::try_to_lock);
    if (!lock.owns_lock() || device.running) return false;
    std::vector<Stream*> streams = device.streams;
    streams.push_back(&device.standard);
    for (Stream* stream : streams)
        if (!stream->queue.empty()) {
            run(*stream, stream->queue.front().number);
            return true;
        }
    return false;
}

cudaError_t run_all() {
    Device& here = device(current);
    Lock lock(here.mutex);
    for (Stream* stream : here.streams)
        if (stream->capture) return refuse(*stream);
    for (auto stream = here.streams.rbegin(); stream != here.streams.rend(); ++stream) run(**stream);
    run(here.standard);
    return cudaSuccess;
}

// ---- Streams, events and graphs of the CUDA runtime

API cudaError_t cudaSetDevice(int index) {
    if (index < 0 || index >= settings.devices) return failed(cudaErrorInvalidDevice);
    current = index;
    return cudaSuccess;
}

API cudaError_t cudaGetDevice(int* index) {
    *index = current;
    return cudaSuccess;
}

API cudaError_t cudaDeviceSynchronize() {
    cudaError_t error = run_all();
    return error ? error : check_freed();
}

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int) {
    Device& here = device(current);
    Lock lock(here.mutex);
    auto* stream = new Stream{&here};
    stream->blocking = !(flags & cudaStreamNonBlocking);
    here.streams.push_back(stream);
    *handle = reinterpret_cast<cudaStream_t>(stream);
    return cudaSuccess;
}

API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
    return cudaStreamCreateWithPriority(handle, flags, 0);
}

API cudaError_t cudaStreamCreate(cudaStream_t* handle) { return cudaStreamCreateWithPriority(handle, 0, 0); }

API cudaError_t cudaStreamDestroy(cudaStream_t handle) {
    Stream& stream = stream_of(handle);
    Lock lock(stream.device->mutex);
    run(stream);
    std::erase(stream.device->streams, &stream);
    return cudaSuccess;  // the stream is not deleted, because events may refer to it
}

API cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
    Stream& stream = stream_of(handle);
    Lock lock(stream.device->mutex);
    if (stream.capture) return refuse(stream);
    if (cudaError_t error = synchronise_with_default(stream)) return error;
    run(stream);
    return check_freed();
}

API cudaError_t cudaStreamQuery(cudaStream_t handle) {
    return stream_of(handle).queue.empty() ? cudaSuccess : cudaErrorNotReady;
}

API cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
    *flags = stream_of(handle).blocking ? cudaStreamDefault : cudaStreamNonBlocking;
    return cudaSuccess;
}

API cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t waited, unsigned) {
    Stream& stream = stream_of(handle);
    auto* event = reinterpret_cast<Event*>(waited);
    Lock lock(stream.device->mutex);
    if (Shared graph = event->capture) {
        if (!graph->streams[0]->capture) return failed(cudaErrorCapturedEvent);
        if (!stream.capture) join(stream, graph);
        if (stream.capture != graph) return failed(cudaErrorStreamCaptureMerge);
        for (size_t node : event->last)
            if (std::ranges::find(stream.last, node) == stream.last.end()) stream.last.push_back(node);
        return cudaSuccess;
    }
    if (!event->stream) return cudaSuccess;
    if (!stream.capture) return add(stream, {0, nullptr, event, event->recorded});
    stream.invalidated = true;  // the event was recorded outside the capture
    return failed(cudaErrorStreamCaptureIsolation);
}

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned) {
    *handle = reinterpret_cast<cudaEvent_t>(new Event);
    return cudaSuccess;
}

API cudaError_t cudaEventCreate(cudaEvent_t* handle) { return cudaEventCreateWithFlags(handle, 0); }

// The event is not deleted, because streams may refer to it.
API cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

API cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t on) {
    Stream& stream = stream_of(on);
    Lock lock(stream.device->mutex);
    auto* event = reinterpret_cast<Event*>(handle);
    event->capture = stream.capture;
    event->last = stream.last;
    return stream.capture ? cudaSuccess : add(stream, {0, nullptr, event});
}

API cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
    auto* event = reinterpret_cast<Event*>(handle);
    if (event->stream) run(*event->stream, event->recorded);
    return check_freed();
}

API cudaError_t cudaEventQuery(cudaEvent_t handle) {
    auto* event = reinterpret_cast<Event*>(handle);
    return event->completed >= event->recorded ? cudaSuccess : cudaErrorNotReady;
}

API cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
    Stream& stream = stream_of(handle);
    Lock lock(stream.device->mutex);
    if (&stream == &stream.device->standard) return refuse(stream);
    if (stream.capture) return failed(cudaErrorIllegalState);
    join(stream, std::make_shared<Graph>());
    return cudaSuccess;
}

API cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
    Stream& stream = stream_of(handle);
    Lock lock(stream.device->mutex);
    *graph = nullptr;
    if (!stream.capture) return failed(cudaErrorIllegalState);
    Shared captured = stream.capture;
    if (captured->streams[0] != &stream) return failed(cudaErrorStreamCaptureUnmatched);
    bool invalidated = false, complete = joined(*captured);
    for (Stream* other : captured->streams) {
        invalidated |= other->invalidated;
        other->capture = nullptr;
        other->last.clear();
    }
    if (invalidated) return failed(cudaErrorStreamCaptureInvalidated);
    if (!complete) return failed(cudaErrorStreamCaptureUnjoined);
    nodes_of_last = captured->nodes.size(), chain_of_last = 0;
    for (Node& node : captured->nodes) chain_of_last = std::max(chain_of_last, node.depth);
    *graph = reinterpret_cast<cudaGraph_t>(new Shared(captured));
    return cudaSuccess;
}

API cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus* status) {
    Stream& stream = stream_of(handle);
    *status = !stream.capture      ? cudaStreamCaptureStatusNone
              : stream.invalidated ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

API cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
    *executable = reinterpret_cast<cudaGraphExec_t>(new Shared(*reinterpret_cast<Shared*>(graph)));
    return cudaSuccess;
}

API cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t) { return cudaSuccess; }

API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete reinterpret_cast<Shared*>(graph);
    return cudaSuccess;
}

API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete reinterpret_cast<Shared*>(executable);
    return cudaSuccess;
}

API cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t handle) {
    Shared graph = *reinterpret_cast<Shared*>(executable);
    return push(handle, "graph", [graph] { run(*graph); });
}

// ---- For tests

API int cpu_cuda_set(const char* name, long value) {
    std::map<std::string, long*> known{{"devices", &settings.devices},
                                       {"memory", &settings.memory},
                                       {"early", &settings.early},
                                       {"driver", &settings.driver},
                                       {"backwards", &settings.backwards}};
    auto found = known.find(name);
    if (found == known.end()) return 1;
    *found->second = value;
    return 0;
}

// Write one line per kind of operation, with its count, and forget the counts.
API void cpu_cuda_counts(char* text, size_t size) {
    std::lock_guard<std::mutex> lock(counting);
    std::string lines;
    for (auto& [kind, number] : counts) lines += kind + "\t" + std::to_string(number) + "\n";
    counts.clear();
    strncpy(text, lines.c_str(), size);
}

// Return the number of nodes of the last captured graph, and the length of its longest chain of dependent nodes.
API void cpu_cuda_graph(long* nodes, long* chain) { *nodes = nodes_of_last, *chain = chain_of_last; }

API long cpu_cuda_used() { return used_bytes(current); }
