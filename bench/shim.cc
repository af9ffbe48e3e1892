// SPDX-License-Identifier: MIT
// bench/shim.cc - Google Benchmark, for C: the other half of shim.h. Under callgrind only the timed
// parts are counted, and each benchmark's instructions are dumped under its name and its operations.
#include "shim.h"

#include <benchmark/benchmark.h>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT ((void)0)
#define CALLGRIND_ZERO_STATS ((void)0)
#define CALLGRIND_DUMP_STATS_AT(name) ((void)(name))
#endif

using steady = std::chrono::steady_clock;

struct bench {
    benchmark::State &state;
    bool begun;
    uint64_t operations;
    steady::time_point since;
    std::chrono::duration<double, std::nano> timed;
};

static bool failed;

/* No operation of any subject is done in less: a loop that the compiler removed is. */
static const double least_ns = 0.2;

static void run(benchmark::State &state, const char *name, bench_run *body, const void *argument)
{
    bench b = {state, false, 0, {}, {}};
    CALLGRIND_ZERO_STATS;
    body(&b, argument);
    const std::string at = std::string(name) + " " + std::to_string(b.operations);
    CALLGRIND_DUMP_STATS_AT(at.c_str());
    if (b.operations > 0 && !state.error_occurred() &&
        b.timed.count() < least_ns * static_cast<double>(b.operations))
        bench_fail(&b, "%.3f ns an operation: nothing was done", b.timed.count() /
                                                               static_cast<double>(b.operations));
}

void bench_add(const char *name, bench_run *body, const void *argument)
{
    const std::string copy = name;
    benchmark::RegisterBenchmark(name, [copy, body, argument](benchmark::State &state) {
        run(state, copy.c_str(), body, argument);
    });
}

bool bench_next(bench *b, uint64_t count)
{
    if (b->state.error_occurred())
        return false;
    if (b->begun)
        b->state.ResumeTiming();
    b->begun = true;
    if (!b->state.KeepRunningBatch(static_cast<benchmark::IterationCount>(count)))
        return false;
    b->state.PauseTiming();
    b->operations += count;
    return true;
}

void bench_start(bench *b)
{
    b->state.ResumeTiming();
    b->since = steady::now();
    CALLGRIND_TOGGLE_COLLECT;
}

void bench_stop(bench *b)
{
    CALLGRIND_TOGGLE_COLLECT;
    b->timed += steady::now() - b->since;
    b->state.PauseTiming();
}

void bench_fail(bench *b, const char *format, ...)
{
    char text[512];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    failed = true;
    b->state.SkipWithError(text);
}

void bench_counter(bench *b, const char *name, double value)
{
    b->state.counters[name] = value;
}

void bench_context(const char *name, const char *value)
{
    benchmark::AddCustomContext(name, value);
}

void bench_begin(int *count, char **arguments)
{
    benchmark::Initialize(count, arguments);
}

int bench_all(int count, char **arguments)
{
    if (benchmark::ReportUnrecognizedArguments(count, arguments))
        return -1;
    const size_t ran = benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return failed ? -1 : static_cast<int>(ran);
}
