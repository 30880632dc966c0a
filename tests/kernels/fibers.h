// CUDA C++ on a CPU: each thread of a block is a fiber that runs until it waits for others. The order in which fibers get their
// turn is drawn from a seed, so a wait that is missing shows as a wrong number, and one too many as a deadlock.
#pragma once
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

#define LONGBOARD_ON_HOST
#define __device__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct Dim {
    int x, y;
};
inline Dim threadIdx, blockIdx, gridDim;

static float __uint_as_float(unsigned word) {
    float x;
    std::memcpy(&x, &word, 4);
    return x;
}
static float exp2_of(float x) { return std::exp2(x); }
static unsigned to_bf16(float x) {
    std::uint32_t word;
    std::memcpy(&word, &x, 4);
    return (word + 0x7fff + (word >> 16 & 1)) >> 16;
}
static unsigned pack(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    std::function<bool()> may_go;  // what it waits for; none: it can run
    bool ended;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static int running;
static std::mt19937 drawn;
static std::function<void()> body;  // of a thread
static std::function<bool(bool)> happen = [](bool) { return false; };  // see run_block

static void wait_until(std::function<bool()> condition) {
    if (condition()) return;
    fibers[running].may_go = std::move(condition);
    swapcontext(&fibers[running].context, &scheduler);
}

static void run_fiber() {
    body();
    fibers[running].ended = true;
    swapcontext(&fibers[running].context, &scheduler);
}

// Run `body` in every thread of a block; false if no thread can go on. Between turns `happen(false)` may let something asynchronous
// happen; `happen(true)` is asked for it where all threads wait, and says whether there was any.
static bool run_block(int threads) {
    fibers.resize(threads);
    for (Fiber& fiber : fibers) {
        fiber.stack.resize(1 << 17);
        fiber.may_go = nullptr, fiber.ended = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, run_fiber, 0);
    }
    for (int left = threads; left > 0;) {
        std::vector<int> able;
        for (int i = 0; i < threads; ++i) {
            const Fiber& fiber = fibers[i];
            if (!fiber.ended && (!fiber.may_go || fiber.may_go())) able.push_back(i);
        }
        if (able.empty() && !happen(true)) return false;
        std::shuffle(able.begin(), able.end(), drawn);
        for (int i : able) {
            running = i, threadIdx = {i, 0}, fibers[i].may_go = nullptr;
            swapcontext(&scheduler, &fibers[i].context);
            left -= fibers[i].ended;
        }
        happen(false);
    }
    return true;
}
