// A second OpenMP runtime beside the tensor library's would fight with it for the cores, and so would threads of
// our own with its spinning ones. So its runtime is borrowed: the caller gives the addresses of these three
// functions, which GNU's, LLVM's and Intel's OpenMP all have. Without them each call starts threads and ends them.
#include "threads.h"

#include <cfenv>
#include <system_error>
#include <thread>
#include <vector>

using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);  // GOMP_parallel
using Number = int (*)();  // omp_get_thread_num, omp_get_num_threads

static Parallel parallel = nullptr;
static Number thread_number = nullptr, team_size = nullptr;

extern "C" __attribute__((visibility("default"))) void pictorch_use_openmp(Parallel run, Number number,
                                                                           Number size) {
    parallel = run, thread_number = number, team_size = size;
}

namespace {
struct Work {
    int parts;
    void (*body)(const void*, int);
    const void* data;
    std::fenv_t arithmetic;  // the caller's: whether denormals are zeros is otherwise each thread's own
};

void as_member_of_team(void* given) {
    const Work& work = *static_cast<const Work*>(given);
    std::fenv_t before;
    std::fegetenv(&before);
    std::fesetenv(&work.arithmetic);
    for (int part = thread_number(); part < work.parts; part += team_size()) work.body(work.data, part);
    std::fesetenv(&before);
}
}  // namespace

void in_parallel(int parts, void (*body)(const void*, int), const void* data) {
    if (parts == 1) return body(data, 0);
    if (parallel) {
        Work work{parts, body, data, {}};
        std::fegetenv(&work.arithmetic);
        return parallel(as_member_of_team, &work, static_cast<unsigned>(parts), 0);
    }
    std::vector<std::thread> others;
    others.reserve(static_cast<size_t>(parts) - 1);
    int started = 1;
    try {
        for (; started < parts; started++) others.emplace_back(body, data, started);
    } catch (const std::system_error&) {  // no more threads to be had: this one does the rest
    }
    body(data, 0);
    for (int part = started; part < parts; part++) body(data, part);
    for (std::thread& other : others) other.join();
}
