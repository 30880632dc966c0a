// K3's outputs for bf16, heads of 64, 128 states and chunks of 256 tokens, by the tensor cores of one multiprocessor a block.
//
//   y[m] = exp(s_m) C[m] h + sum over k <= m of (C B^T)[m, k] exp(s_m - s_k) dt_k x[k] + skip x[m]
//
// in a chunk, where h is the state that it starts from and s the running sum of dt a. What a chunk's heads have in common stays on
// the multiprocessor while a block goes from head to head: C as fragments in registers, the lower half of C B^T in shared memory.
// Only x, h and the sums of a head are fetched, two heads early, into a ring of three stages. A block takes an equal share of all
// (chunk, head) pairs, so no length leaves a part of the card idle.
//
// Each of the eight warps owns 16 rows near the top of the chunk and 16 near its end: 17 blocks of 16 x 16 for each of them. Warps
// wait for a stage, never for each other, so that one puts its rows away while another's products run.
//
// What a pair costs each of the four schedulers, in cycles: about 4,000 for 608 products of 16 x 8 x 16 (a tensor core takes six to
// seven for one), 3,500 for all its instructions; shared memory, which they have in common, about 4,100. It takes 8,200 on an H200.

#ifndef LONGBOARD_ON_HOST  // a test runs this file on a CPU, with these functions of its own
__device__ __forceinline__ float exp2_of(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ unsigned pack(float low, float high) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ __forceinline__ unsigned times(unsigned a, unsigned b) {  // two bf16 by two
    unsigned both;
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(both) : "r"(a), "r"(b));
    return both;
}
__device__ __forceinline__ unsigned spot_of(const void* at) {
    unsigned spot;
    asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(spot) : "l"(at));
    return spot;
}
typedef unsigned Spot;  // in shared memory
// Four matrices of 8 x 8; lane i names the 16 bytes of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrices(unsigned* to, Spot row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row));
}
__device__ __forceinline__ void load_transposed(unsigned* to, Spot row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row));
}
// acc [16, 8] += a [16, 16] b [16, 8]
__device__ __forceinline__ void multiply(float* acc, const unsigned* a, const unsigned* b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// acc = a b
__device__ __forceinline__ void multiply_first(float* acc, const unsigned* a, const unsigned* b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
                 : "=f"(acc[0]), "=f"(acc[1]), "=f"(acc[2]), "=f"(acc[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "f"(0.0f));
}
__device__ __forceinline__ void copy16(char* to, const void* from, bool inside) {  // zeros where it is not inside
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(spot_of(to)), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
__device__ __forceinline__ void finish_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
__device__ __forceinline__ void start_barrier(unsigned long long* barrier, int count) {
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(spot_of(barrier)), "r"(count) : "memory");
}
__device__ __forceinline__ void arrive_at(unsigned long long* barrier) {
    asm volatile("{ .reg .b64 t; mbarrier.arrive.shared.b64 t, [%0]; }" ::"r"(spot_of(barrier)) : "memory");
}
__device__ __forceinline__ void arrive_when_copied(unsigned long long* barrier) {  // once this thread's copies so far are there
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(spot_of(barrier)) : "memory");
}
__device__ __forceinline__ void wait_for(unsigned long long* barrier, int phase) {
    asm volatile(
        "{ .reg .pred done; again: mbarrier.try_wait.parity.shared.b64 done, [%0], %1; @done bra over; bra again; over: }" ::"r"(
            spot_of(barrier)),
        "r"(phase)
        : "memory");
}
__device__ __forceinline__ void wait_for_all() { asm volatile("bar.sync 0;" ::: "memory"); }
__device__ __forceinline__ void wait_for_warp() { asm volatile("bar.warp.sync 0xffffffff;" ::: "memory"); }
__device__ __forceinline__ unsigned swap(unsigned word, int distance) {  // with the lane whose number differs by this bit
    unsigned got;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;" : "=r"(got) : "r"(word), "r"(distance));
    return got;
}
#endif

constexpr int CHUNK = 256, WIDTH = 64, STATES = 128;  // tokens; numbers of a head; states
constexpr int WARPS = 8, THREADS = 32 * WARPS, STRIPS = CHUNK / 16, TILES = WIDTH / 8;
static_assert(STRIPS == 2 * WARPS && CHUNK == THREADS, "a warp has two strips, a thread a token");

// Bytes in shared memory. Rows of x and h are cut into pieces of 16 bytes, and piece i of row r lies at place i ^ (r % 8): what
// eight lanes read at once is then in 32 different banks.
constexpr int X_ROW = 2 * WIDTH, H_ROW = 2 * STATES;
constexpr int H_AT = CHUNK * X_ROW, SUMS_AT = H_AT + WIDTH * H_ROW, STEPS_AT = SUMS_AT + 4 * CHUNK, STAGE = STEPS_AT + 4 * CHUNK;
constexpr int STAGES = 3, BLOCK = 512;  // a block of 16 x 16 products: four matrices of 8 x 8, each in one piece
constexpr int RING_AT = STRIPS * (STRIPS + 1) / 2 * BLOCK, BARRIERS_AT = RING_AT + STAGES * STAGE;

struct alignas(8) Two {
    unsigned word[2];
};
struct alignas(8) Pair {
    float at[2];
};

struct Given {
    const unsigned short *x, *c, *products, *between;
    const float *steps, *sums, *skip;
    unsigned short* y;
    int tokens, heads, share, groups, chunks;                             // share: heads of a group
    int x_batch, x_token, x_head, c_batch, c_token, c_group;  // strides, in eights of numbers
};

struct Place {  // of one pair of chunk and head; heads come first, then chunks, then rows of the batch
    int head, chunk, row;
};
__device__ __forceinline__ Place find_place(const Given& g, long long pair) {
    const long long rest = pair / g.heads, row = rest / g.chunks;
    return {static_cast<int>(pair - rest * g.heads), static_cast<int>(rest - row * g.chunks), static_cast<int>(row)};
}
__device__ __forceinline__ void go_on(Place& at, const Given& g) {  // divisions would cost more than the products
    if (++at.head < g.heads) return;
    at.head = 0;
    if (++at.chunk < g.chunks) return;
    at.chunk = 0;
    ++at.row;
}

__device__ __forceinline__ float low_of(unsigned word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_of(unsigned word) { return __uint_as_float(word & 0xffff0000u); }

// x, h, sums and steps of a pair, a part by each thread.
__device__ __forceinline__ void fetch(char* stage, const Given& g, const Place& at, int thread) {
    const int first = at.chunk * CHUNK, r = thread / 8, piece = thread % 8;
    const unsigned short* x = g.x + (static_cast<long long>(at.row) * g.x_batch + static_cast<long long>(at.head) * g.x_head) * 8;
    const unsigned short* from = x + (static_cast<long long>(first + r) * g.x_token + piece) * 8;
    const long long step = static_cast<long long>(THREADS / 8) * 8 * g.x_token;
    char* to = stage + r * X_ROW + ((piece ^ (r & 7)) << 4);  // a multiple of 8 rows further the piece lies at the same place
    if (first + CHUNK <= g.tokens) {
#pragma unroll
        for (int i = 0; i < CHUNK; i += THREADS / 8, from += step) copy16(to + i * X_ROW, from, true);
    } else {
#pragma unroll 1
        for (int i = 0; i < CHUNK; i += THREADS / 8, from += step) {
            const bool inside = first + r + i < g.tokens;
            copy16(to + i * X_ROW, inside ? from : x, inside);
        }
    }
    const long long chunk = static_cast<long long>(at.row) * g.chunks + at.chunk;
    const unsigned short* h = g.between + (chunk * g.heads + at.head) * (WIDTH * STATES) + thread * 8;
    const int line = thread / 16;
    to = stage + H_AT + line * H_ROW + ((thread % 16 ^ (line & 7)) << 4);
#pragma unroll
    for (int i = 0; i < WIDTH; i += THREADS / 16) copy16(to + i * H_ROW, h + i * STATES, true);
    if (thread < CHUNK / 2) {
        const float* line_of = thread < CHUNK / 4 ? g.sums : g.steps;
        line_of += ((static_cast<long long>(at.row) * g.heads + at.head) * g.chunks + at.chunk) * CHUNK;
        copy16(stage + SUMS_AT + thread * 16, line_of + thread % (CHUNK / 4) * 4, true);
    }
}

// The chunk's C B^T, blocks on and below the diagonal.
__device__ __forceinline__ void fetch_products(char* shared, const Given& g, long long group, int thread) {
    const unsigned short* from = g.products + group * (CHUNK * CHUNK);
    for (int strip = 0; strip < STRIPS; ++strip) {
        for (int i = thread; i < 32 * (strip + 1); i += THREADS) {
            const int r = i % 16, piece = i / 16;
            char* block = shared + (strip * (strip + 1) / 2 + piece / 2) * BLOCK;
            copy16(block + (piece % 2 * 2 + r / 8) * 128 + r % 8 * 16, from + (strip * 16 + r) * CHUNK + piece * 8, true);
        }
    }
}

// Rows of C as the tensor cores take them: fragments [8 steps of 16 states][4].
__device__ __forceinline__ void fetch_c(unsigned (*to)[4], const Given& g, const Place& at, int strip, int lane) {
    const long long group = at.head / g.share;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const long long token = at.chunk * CHUNK + strip * 16 + half * 8 + lane / 4;
        const unsigned short* from = g.c + (static_cast<long long>(at.row) * g.c_batch + token * g.c_token + group * g.c_group) * 8;
#pragma unroll
        for (int k = 0; k < STATES / 8; ++k) {
            unsigned word = 0;
            if (token < g.tokens) word = *reinterpret_cast<const unsigned*>(from + k * 8 + lane % 4 * 2);
            to[k / 2][k % 2 * 2 + half] = word;
        }
    }
}

struct Block {  // 16 tokens of a chunk, as the products need them; columns of a lane are 2q, 2q + 1, 2q + 8, 2q + 9, q = lane % 4
    unsigned x[TILES][2], products[2][4];  // of both strips
    float sums[4], steps[4];               // of the lane's columns
};
struct Strip {  // 16 rows of a chunk
    int number;
    float begin;   // sum up to the row before them
    float sum[2];  // of this lane's two rows, lane / 4 and that plus 8
    float acc[TILES][4];
};

// Products below the diagonal times what is left, at the strip's beginning, of each column's token. The rest of the decay, to the
// row, comes over all of it at the end. Both factors are at most 1.
__device__ __forceinline__ void weigh(unsigned* products, const Strip& s, const Block& block) {
    float by[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) by[i] = block.steps[i] * exp2_of(s.begin - block.sums[i]);
    const unsigned pairs[2] = {pack(by[0], by[1]), pack(by[2], by[3])};
#pragma unroll
    for (int i = 0; i < 4; ++i) products[i] = times(products[i], pairs[i / 2]);
}

__device__ __forceinline__ void add(Strip& s, const unsigned* a, const Block& block) {
#pragma unroll
    for (int j = 0; j < TILES; ++j) multiply(s.acc[j], a, block.x[j]);
}

// The strip's own block: decay from column to row number by number, and the skip as a diagonal matrix in two parts, which keep 16
// bits of it.
__device__ __forceinline__ void add_diagonal(Strip& s, const unsigned* products, const Block& block, const unsigned* skip, int lane) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float grown = exp2_of(s.sum[half] - s.begin);
#pragma unroll
        for (int j = 0; j < TILES; ++j) s.acc[j][2 * half] *= grown, s.acc[j][2 * half + 1] *= grown;
    }
    unsigned a[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // word i: row lane / 4 + 8 (i % 2), columns from 2 q + 8 (i / 2)
        float seen[2];
#pragma unroll
        for (int k = 0; k < 2; ++k) {
            const int row = lane / 4 + i % 2 * 8, column = lane % 4 * 2 + i / 2 * 8 + k;
            const float decay = exp2_of(s.sum[i % 2] - block.sums[i / 2 * 2 + k]) * block.steps[i / 2 * 2 + k];
            seen[k] = column <= row ? decay * (k ? high_of(products[i]) : low_of(products[i])) : 0.0f;
        }
        a[i] = pack(seen[0], seen[1]);
    }
    add(s, a, block);
#pragma unroll
    for (int part = 0; part < 2; ++part) {
        const unsigned diagonal[4] = {skip[part], 0, 0, skip[part]};
        add(s, diagonal, block);
    }
}

// acc as bf16 into y; two lanes exchange words so that four of them store 32 bytes of one row.
__device__ __forceinline__ void store(const Strip& s, const Given& g, const Place& at, int lane) {
    const int q = lane % 4;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int token = at.chunk * CHUNK + s.number * 16 + half * 8 + lane / 4;
        unsigned short* to = g.y + ((static_cast<long long>(at.row) * g.tokens + token) * g.heads + at.head) * WIDTH;
        to += q % 2 * 8 + q / 2 * 4;
#pragma unroll
        for (int j = 0; j < TILES; j += 2) {
            const unsigned own[2] = {
                pack(s.acc[j][2 * half], s.acc[j][2 * half + 1]), pack(s.acc[j + 1][2 * half], s.acc[j + 1][2 * half + 1])};
            const unsigned got = swap(q & 1 ? own[0] : own[1], 1);
            const Two words = {{q & 1 ? got : own[0], q & 1 ? own[1] : got}};
            if (token < g.tokens) *reinterpret_cast<Two*>(to + j * 8) = words;
        }
    }
}

// x, c: 16-byte aligned, stride 1 in the last place. products [B, chunks, G, 256, 256], between [B, chunks, H, 64, 128], steps and
// sums [B, H, 256 chunks] (sums of dt a log2 e from the chunk's beginning), y [B, T, H, 64]: contiguous. skip [H].
extern "C" __global__ void __launch_bounds__(256, 1) ssd_outputs(
    const unsigned short* x, const unsigned short* c, const unsigned short* products, const unsigned short* between,
    const float* steps, const float* sums, const float* skip, unsigned short* y, int batch, int tokens, int heads, int share,
    int groups, int chunks, int x_batch, int x_token, int x_head, int c_batch, int c_token, int c_group, int has_skip) {
    extern __shared__ __align__(128) char shared[];
    const Given g = {x, c, products, between, steps, sums, skip, y, tokens, heads, share, groups, chunks,
                     x_batch, x_token, x_head, c_batch, c_token, c_group};
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    unsigned long long* full = reinterpret_cast<unsigned long long*>(shared + BARRIERS_AT);
    unsigned long long* empty = full + STAGES;
    if (thread == 0) {
        for (int i = 0; i < STAGES; ++i) start_barrier(full + i, THREADS), start_barrier(empty + i, WARPS);
    }
    wait_for_all();
    const long long pairs = static_cast<long long>(batch) * chunks * heads;
    const long long begin = pairs * blockIdx.x / gridDim.x;
    const int count = static_cast<int>(pairs * (blockIdx.x + 1) / gridDim.x - begin);
    Place at = find_place(g, begin), ahead = at;
    for (int i = 0; i < STAGES - 1 && i < count; ++i) {
        fetch(shared + RING_AT + i * STAGE, g, ahead, thread);
        arrive_when_copied(full + i);
        go_on(ahead, g);
    }
    Strip low, high;
    low.number = warp;
    high.number = STRIPS - 1 - warp;
    const Spot low_products = spot_of(shared) + (low.number * (low.number + 1) / 2 * BLOCK + lane * 16);
    const Spot high_products = spot_of(shared) + (high.number * (high.number + 1) / 2 * BLOCK + lane * 16);
    // Where a lane's rows lie in a stage: of h, pieces 2 k and 2 k + 1 of a step of 16 states; of x, pairs of tiles.
    const int h_row = H_AT + (lane / 16 * 8 + lane % 8) * H_ROW;
    int h_at[STATES / 16], x_at[TILES / 2];
#pragma unroll
    for (int k = 0; k < STATES / 16; ++k) h_at[k] = h_row + (((k * 2 + lane / 8 % 2) ^ (lane & 7)) << 4);
#pragma unroll
    for (int j = 0; j < TILES / 2; ++j) x_at[j] = lane % 16 * X_ROW + (((2 * j + lane / 16) ^ (lane & 7)) << 4);
    unsigned c_of[2][STATES / 16][4];
    long long held = -1;  // whose C and products are here
    int stage = 0, phase = 0;
    for (int done = 0; done < count; ++done, go_on(at, g)) {
        const long long wanted = (static_cast<long long>(at.row) * g.chunks + at.chunk) * g.groups + at.head / g.share;
        if (wanted != held) {
            held = wanted;
            wait_for_all();  // the last chunk's products are in no one's use any more
            fetch_products(shared, g, wanted, thread);
            fetch_c(c_of[0], g, at, low.number, lane);
            fetch_c(c_of[1], g, at, high.number, lane);
            finish_copies();
            wait_for_all();
        }
        if (done + STAGES - 1 < count) {
            const int to = stage ? stage - 1 : STAGES - 1;  // the stage of the pair before this one
            if (done) wait_for(empty + to, stage ? phase : phase ^ 1);
            fetch(shared + RING_AT + to * STAGE, g, ahead, thread);
            arrive_when_copied(full + to);
            go_on(ahead, g);
        }
        unsigned skip_of[2] = {0, 0};
        if (has_skip && lane / 8 == lane % 4) {  // row lane / 4 is one of columns 2 q and 2 q + 1
            const float whole = skip[at.head], most = __uint_as_float(pack(whole, 0.0f) << 16);
            const int shift = lane / 4 % 2 * 16;
            skip_of[0] = pack(most, 0.0f) << shift;
            skip_of[1] = pack(whole - most, 0.0f) << shift;
        }
        wait_for(full + stage, phase);
        const char* xs = shared + RING_AT + stage * STAGE;
        const Spot here = spot_of(xs);
        const char* sums_of = xs + SUMS_AT;
        #pragma unroll
        for (int i = 0; i < 2; ++i) {
            Strip* s = i ? &high : &low;
            const char* line = sums_of + s->number * 64;
            s->begin = s->number ? *reinterpret_cast<const float*>(line - 4) : 0.0f;
#pragma unroll
            for (int half = 0; half < 2; ++half) s->sum[half] = *reinterpret_cast<const float*>(line + lane / 4 * 4 + half * 32);
        }

        // C h
#pragma unroll
        for (int k = 0; k < STATES / 16; ++k) {
            unsigned b[TILES][2];
#pragma unroll
            for (int j = 0; j < TILES; j += 2) load_matrices(b[j], here + h_at[k] + j * 8 * H_ROW);
#pragma unroll
            for (int j = 0; j < TILES; ++j) {
                if (k == 0) multiply_first(low.acc[j], c_of[0][k], b[j]), multiply_first(high.acc[j], c_of[1][k], b[j]);
                else multiply(low.acc[j], c_of[0][k], b[j]), multiply(high.acc[j], c_of[1][k], b[j]);
            }
        }

        // The chunk itself, a block of 16 tokens after the other up to each strip's own. The next one is looked up and weighed
        // while the tensor cores have this one.
        const auto look = [&](Block& block, int number, bool both) {
#pragma unroll
            for (int j = 0; j < TILES; j += 2) load_transposed(block.x[j], here + x_at[j / 2] + number * (16 * X_ROW));
            load_matrices(block.products[1], high_products + number * BLOCK);
            if (both) load_matrices(block.products[0], low_products + number * BLOCK);
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const char* from = sums_of + number * 64 + half * 32 + lane % 4 * 8;
                const Pair sums = *reinterpret_cast<const Pair*>(from), steps = *reinterpret_cast<const Pair*>(from + STEPS_AT - SUMS_AT);
                block.sums[2 * half] = sums.at[0], block.sums[2 * half + 1] = sums.at[1];
                block.steps[2 * half] = steps.at[0], block.steps[2 * half + 1] = steps.at[1];
            }
        };
        Block now, next;
        unsigned own[4];  // a strip's products with itself, as they are
        look(now, 0, true);
        load_matrices(own, low_products + low.number * BLOCK);
        const float decay[2] = {exp2_of(low.begin), exp2_of(high.begin)};
#pragma unroll
        for (int j = 0; j < TILES; ++j) {
#pragma unroll
            for (int i = 0; i < 4; ++i) low.acc[j][i] *= decay[0], high.acc[j][i] *= decay[1];
        }
        weigh(now.products[0], low, now);
        weigh(now.products[1], high, now);
#pragma unroll 2
        for (int number = 0; number < low.number; ++number) {
            look(next, number + 1, true);
            add(low, now.products[0], now);
            add(high, now.products[1], now);
            weigh(next.products[0], low, next);
            weigh(next.products[1], high, next);
            now = next;
        }
        look(next, low.number + 1, false);
        add(high, now.products[1], now);
        add_diagonal(low, own, now, skip_of, lane);
        load_matrices(own, high_products + high.number * BLOCK);
        weigh(next.products[1], high, next);
        now = next;
#pragma unroll 2
        for (int number = low.number + 1; number < high.number; ++number) {
            look(next, number + 1, false);
            add(high, now.products[1], now);
            weigh(next.products[1], high, next);
            now = next;
        }
        add_diagonal(high, own, now, skip_of, lane);
        wait_for_warp();
        if (lane == 0) arrive_at(empty + stage);
        store(low, g, at, lane);
        store(high, g, at, lane);
        if (++stage == STAGES) stage = 0, phase ^= 1;
    }
}
