// selective_scan.cu on a CPU: each thread of a block is a fiber that runs until it waits at a barrier. The order in which fibers
// get their turn is drawn from a seed, so a barrier that is missing shows as a wrong number, and one too many as a deadlock.
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#define LONGBOARD_ON_HOST
#define __device__
#define __global__
#define __shared__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct Place {
    int x, y;
};
struct uint2 {
    unsigned x, y;
};
static Place threadIdx, blockIdx;

static float __uint_as_float(unsigned word) {
    float x;
    std::memcpy(&x, &word, 4);
    return x;
}
static float exp2_of(float x) { return std::exp2(x); }
static float log2_of(float x) { return std::log2(x); }
static float inverse_of(float x) { return 1.0f / x; }
static unsigned to_bf16(float x) {
    std::uint32_t word;
    std::memcpy(&word, &x, 4);
    return (word + 0x7fff + (word >> 16 & 1)) >> 16;
}
static unsigned pack(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }

constexpr int THREADS = 256;
struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    int waits_at, round;  // of a barrier, and which of its rounds
    bool ended;
};
static Fiber fibers[THREADS];
static ucontext_t scheduler;
static int running, arrived[16], rounds[16];

static void arrive_at(int barrier) {
    if (++arrived[barrier] == THREADS) arrived[barrier] = 0, ++rounds[barrier];
}
static void wait_at(int barrier) {
    Fiber& self = fibers[running];
    self.waits_at = barrier, self.round = rounds[barrier];
    arrive_at(barrier);
    if (rounds[barrier] == self.round) swapcontext(&self.context, &scheduler);
    self.waits_at = -1;
}

#include "selective_scan.cu"

alignas(16) char shared[2 * BUFFER];

struct Arguments {
    const unsigned short *u, *dt, *z, *b, *c;
    const float *a, *skip, *bias;
    unsigned short* y;
    float* state;
    int n[13];
};
static const Arguments* given;

static void run_fiber() {
    const Arguments& g = *given;
    const int* n = g.n;
    scan_by_four_lanes(
        g.u, g.dt, g.z, g.b, g.c, g.a, g.skip, g.bias, g.y, g.state, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9],
        n[10], n[11], n[12]);
    fibers[running].ended = true;
    swapcontext(&fibers[running].context, &scheduler);
}

// Returns the block that no fiber could go on in, or -1.
extern "C" int scan_on_host(const Arguments* arguments, int blocks, int batch, unsigned seed) {
    std::mt19937 random(seed);
    given = arguments;
    for (int block = 0; block < blocks * batch; ++block) {
        blockIdx = {block % blocks, block / blocks};
        std::memset(shared, 0xff, sizeof shared);  // NaN: what nobody wrote must not be used
        std::memset(arrived, 0, sizeof arrived);
        for (Fiber& fiber : fibers) {
            fiber.stack.resize(1 << 16);
            fiber.waits_at = -1, fiber.ended = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = fiber.stack.size();
            makecontext(&fiber.context, run_fiber, 0);
        }
        for (int left = THREADS; left > 0;) {
            std::vector<int> able;
            for (int i = 0; i < THREADS; ++i) {
                const Fiber& fiber = fibers[i];
                if (!fiber.ended && (fiber.waits_at < 0 || rounds[fiber.waits_at] != fiber.round)) able.push_back(i);
            }
            if (able.empty()) return block;
            std::shuffle(able.begin(), able.end(), random);
            for (int i : able) {
                running = i, threadIdx = {i, 0};
                swapcontext(&scheduler, &fibers[i].context);
                left -= fibers[i].ended;
            }
        }
        for (int barrier : arrived) {
            if (barrier) return block;  // someone arrived for a round that never came
        }
    }
    return -1;
}
