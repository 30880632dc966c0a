// selective_scan.cu on a CPU.
#include "fibers.h"

struct uint2 {
    unsigned x, y;
};
static float log2_of(float x) { return std::log2(x); }
static float inverse_of(float x) { return 1.0f / x; }

constexpr int THREADS = 256;
static int arrived[16], rounds[16];  // of the named barriers

static void arrive_at(int barrier) {
    if (++arrived[barrier] == THREADS) arrived[barrier] = 0, ++rounds[barrier];
}
static void wait_at(int barrier) {
    const int round = rounds[barrier];
    arrive_at(barrier);
    wait_until([=] { return rounds[barrier] != round; });
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

// Returns the block that no fiber could go on in, or -1.
extern "C" int scan_on_host(const Arguments* arguments, int blocks, int batch, unsigned seed) {
    drawn.seed(seed);
    const Arguments& g = *arguments;
    const int* n = g.n;
    body = [&] {
        scan_by_four_lanes(
            g.u, g.dt, g.z, g.b, g.c, g.a, g.skip, g.bias, g.y, g.state, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8],
            n[9], n[10], n[11], n[12]);
    };
    for (int block = 0; block < blocks * batch; ++block) {
        blockIdx = {block % blocks, block / blocks};
        std::memset(shared, 0xff, sizeof shared);  // NaN: what nobody wrote must not be used
        std::memset(arrived, 0, sizeof arrived);
        if (!run_block(THREADS)) return block;
        for (int barrier : arrived) {
            if (barrier) return block;  // someone arrived for a round that never came
        }
    }
    return -1;
}
