// NCCL: a sum over ranks, which are threads of one process with one GPU each.
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>

#include "device.h"

#define API extern "C" __attribute__((visibility("default")))

namespace {
constexpr auto PATIENCE = std::chrono::seconds(200);
enum Result { SUCCESS = 0, INVALID_ARGUMENT = 4 };
enum Type { FLOAT = 7, DOUBLE = 8 };
struct Id {
    char bytes[128];
};

struct Group {
    int ranks;
    std::mutex mutex;
    std::condition_variable arrived;
    std::vector<const void*> sent;
    std::vector<void*> received;
    int waiting = 0, round = 0;
    bool broken = false;  // a rank has stopped
};

struct Communicator {
    Group* group;
    int rank;
};

std::mutex mutex;
std::map<int, Group*> groups;

// All ranks add in the same order, so they get the same result.
template <class T>
void sum(Group& group, size_t count) {
    std::vector<T> total(count);
    for (const void* sent : group.sent)
        for (size_t i = 0; i < count; i++) total[i] += static_cast<const T*>(sent)[i];
    for (void* received : group.received) memcpy(received, total.data(), count * sizeof(T));
}

bool advance_another() {
    for (int index = 0; index < settings.devices; index++)
        if (advance(device(index))) return true;
    return false;
}

void all_reduce(Communicator& self, const void* sent, void* received, size_t count, int type) {
    Group& group = *self.group;
    std::unique_lock<std::mutex> lock(group.mutex);
    if (group.broken) return;
    group.sent[self.rank] = sent;
    group.received[self.rank] = received;
    if (++group.waiting == group.ranks) {
        type == FLOAT ? sum<float>(group, count) : sum<double>(group, count);
        group.waiting = 0;
        group.round++;
        group.arrived.notify_all();
        return;
    }
    // A GPU runs its work even if no host thread waits for it, so this thread runs the other ranks' work.
    // If a rank has stopped with an error, the others end too, so that the test shows the error.
    auto end = std::chrono::steady_clock::now() + PATIENCE;
    for (int round = group.round; round == group.round && !group.broken;) {
        group.broken = std::chrono::steady_clock::now() > end;
        lock.unlock();
        bool advanced = advance_another();
        lock.lock();
        if (!advanced && round == group.round) group.arrived.wait_for(lock, std::chrono::milliseconds(1));
    }
}
}  // namespace

API int ncclGetVersion(int* version) {
    *version = 22000;
    return SUCCESS;
}

API const char* ncclGetErrorString(int) { return "an error of NCCL on the CPU"; }

API int ncclGetUniqueId(Id* id) {
    static int number = 0;
    std::lock_guard<std::mutex> lock(mutex);
    *id = {};
    memcpy(id->bytes, &++number, sizeof number);
    return SUCCESS;
}

API int ncclCommInitRankConfig(Communicator** communicator, int ranks, Id id, int rank, void*) {
    int number;
    memcpy(&number, id.bytes, sizeof number);
    std::lock_guard<std::mutex> lock(mutex);
    Group*& group = groups[number];
    if (!group) group = new Group{ranks, {}, {}, std::vector<const void*>(ranks), std::vector<void*>(ranks)};
    *communicator = new Communicator{group, rank};
    return SUCCESS;
}

API int ncclAllReduce(const void* sent, void* received, size_t count, int type, int operation, Communicator* self,
                      cudaStream_t stream) {
    if (operation != 0 || (type != FLOAT && type != DOUBLE)) return INVALID_ARGUMENT;
    push(stream, "all-reduce", [=] { all_reduce(*self, sent, received, count, type); });
    return SUCCESS;
}
