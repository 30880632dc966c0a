// ssd_outputs.cu on a CPU: with what the tensor cores, copies in the background and barriers do, by the PTX manual's words.
#include <map>

#include "fibers.h"

// What the 32 threads of a warp do together, once all of them are there.
struct Warp {
    int arrived = 0, round = 0;
    const void* given[32];
    void* wanted[32];
};
static std::vector<Warp> warps;

template <class Work>
static void together(const void* given, void* wanted, Work work) {
    Warp& warp = warps[running / 32];
    const int round = warp.round;
    warp.given[running % 32] = given, warp.wanted[running % 32] = wanted;
    if (++warp.arrived < 32) {
        wait_until([&warp, round] { return warp.round != round; });
        return;
    }
    work(warp);
    warp.arrived = 0, ++warp.round;
}

static std::uint16_t half_of(const void* row, int column) {
    std::uint16_t half;
    std::memcpy(&half, static_cast<const char*>(row) + 2 * column, 2);
    return half;
}

// ldmatrix .x4: lane i gives row i % 8 of matrix i / 8 and gets, of each, row i / 4 at columns 2 (i % 4) and the next.
static void load(unsigned* to, const char* row, bool transposed) {
    together(row, to, [transposed](Warp& warp) {
        for (int lane = 0; lane < 32; ++lane) {
            for (int m = 0; m < 4; ++m) {
                unsigned word = 0;
                for (int k = 0; k < 2; ++k) {
                    const int r = lane / 4, c = lane % 4 * 2 + k;
                    const unsigned half = transposed ? half_of(warp.given[m * 8 + c], r) : half_of(warp.given[m * 8 + r], c);
                    word |= half << 16 * k;
                }
                static_cast<unsigned*>(warp.wanted[lane])[m] = word;
            }
        }
    });
}
typedef const char* Spot;
static Spot spot_of(const void* at) { return static_cast<Spot>(at); }
static void load_matrices(unsigned* to, Spot row) { load(to, row, false); }
static void load_transposed(unsigned* to, Spot row) { load(to, row, true); }

static float bf16_at(unsigned word, int k) { return __uint_as_float(k ? word & 0xffff0000u : word << 16); }

// mma .m16n8k16. With g = lane / 4 and q = lane % 4, A's words are rows g, g + 8, g, g + 8 at columns 2q, 2q, 2q + 8, 2q + 8; B's
// rows 2q and 2q + 8 at column g; the sums rows g, g, g + 8, g + 8 at columns 2q, 2q + 1, 2q, 2q + 1.
static void multiply(float* acc, const unsigned* a, const unsigned* b) {
    const unsigned words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    together(words, acc, [](Warp& warp) {
        float left[16][16], right[16][8];
        for (int lane = 0; lane < 32; ++lane) {
            const unsigned* from = static_cast<const unsigned*>(warp.given[lane]);
            const int g = lane / 4, q = lane % 4;
            for (int k = 0; k < 2; ++k) {
                for (int i = 0; i < 4; ++i) left[g + i % 2 * 8][2 * q + i / 2 * 8 + k] = bf16_at(from[i], k);
                for (int i = 0; i < 2; ++i) right[2 * q + 8 * i + k][g] = bf16_at(from[4 + i], k);
            }
        }
        for (int lane = 0; lane < 32; ++lane) {
            float* to = static_cast<float*>(warp.wanted[lane]);
            for (int i = 0; i < 4; ++i) {
                for (int k = 0; k < 16; ++k) to[i] += left[lane / 4 + i / 2 * 8][k] * right[k][lane % 4 * 2 + i % 2];
            }
        }
    });
}

static void multiply_first(float* acc, const unsigned* a, const unsigned* b) {
    std::fill(acc, acc + 4, 0.0f);
    multiply(acc, a, b);
}
static unsigned times(unsigned a, unsigned b) {
    return pack(bf16_at(a, 0) * bf16_at(b, 0), bf16_at(a, 1) * bf16_at(b, 1));
}

static unsigned swap(unsigned word, int distance) {
    unsigned got;
    together(&word, &got, [distance](Warp& warp) {
        for (int lane = 0; lane < 32; ++lane) {
            std::memcpy(warp.wanted[lane], warp.given[lane ^ distance], 4);
        }
    });
    return got;
}
static void wait_for_warp() {
    together(nullptr, nullptr, [](Warp&) {});
}

static int here, rounds;  // at the block's barrier
static void wait_for_all() {
    const int round = rounds;
    if (++here == static_cast<int>(fibers.size())) here = 0, ++rounds;
    wait_until([=] { return rounds != round; });
}

struct Barrier {
    int count, left, phase;
};
static std::map<const void*, Barrier> barriers;
static void start_barrier(unsigned long long* at, int count) { barriers[at] = {count, count, 0}; }
static void arrive_at(unsigned long long* at) {
    Barrier& barrier = barriers.at(at);
    if (--barrier.left == 0) barrier.left = barrier.count, barrier.phase ^= 1;
}
static void wait_for(unsigned long long* at, int phase) {
    const Barrier& barrier = barriers.at(at);
    wait_until([&barrier, phase] { return barrier.phase != phase; });
}

// Copies in the background: done at any time up to a wait, or where nothing else can happen.
struct Copy {
    char* to;
    const void* from;
    bool inside;
};
struct Batch {
    int thread;
    std::vector<Copy> copies;
    unsigned long long* barrier;
};
static std::vector<std::vector<Copy>> begun;  // by thread, no barrier told yet
static std::vector<Batch> under_way;

static void copy16(char* to, const void* from, bool inside) { begun[running].push_back({to, from, inside}); }
static void do_copies(const std::vector<Copy>& copies) {
    for (const Copy& copy : copies) {
        if (copy.inside) std::memcpy(copy.to, copy.from, 16);
        else std::memset(copy.to, 0, 16);
    }
}
static void arrive_when_copied(unsigned long long* barrier) {
    under_way.push_back({running, begun[running], barrier});
    begun[running].clear();
}
static void land(int number) {
    const Batch batch = under_way[number];
    under_way.erase(under_way.begin() + number);
    do_copies(batch.copies);
    arrive_at(batch.barrier);
}
static void finish_copies() {
    do_copies(begun[running]);
    begun[running].clear();
    for (int i = under_way.size() - 1; i >= 0; --i) {
        if (under_way[i].thread == running) land(i);
    }
}

#include "ssd_outputs.cu"

alignas(128) char shared[BARRIERS_AT + 2 * STAGES * 8];

struct Arguments {
    const unsigned short *x, *c, *products, *between;
    const float *steps, *sums, *skip;
    unsigned short* y;
    int n[13];
};

// Returns the block that no fiber could go on in, or -1.
extern "C" int ssd_on_host(const Arguments* arguments, int blocks, unsigned seed) {
    drawn.seed(seed);
    const Arguments& g = *arguments;
    const int* n = g.n;
    body = [&] {
        ssd_outputs(
            g.x, g.c, g.products, g.between, g.steps, g.sums, g.skip, g.y, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8],
            n[9], n[10], n[11], n[12]);
    };
    happen = [](bool now) {  // seldom of itself: most copies land where all threads wait
        const bool some = !under_way.empty() && (now || drawn() % 8 == 0);
        if (some) land(drawn() % under_way.size());
        return some;
    };
    gridDim = {blocks, 1};
    for (int block = 0; block < blocks; ++block) {
        blockIdx = {block, 0};
        std::memset(shared, 0xff, sizeof shared);  // NaN: what nobody wrote must not be used
        warps.assign(THREADS / 32, Warp());
        begun.assign(THREADS, {});
        under_way.clear(), barriers.clear(), here = 0;
        if (!run_block(THREADS)) return block;
    }
    return -1;
}
