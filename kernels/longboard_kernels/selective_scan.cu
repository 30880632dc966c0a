// K2 in one pass for bf16 and 16 states a channel: four lanes share a channel, so 4,096 channels fill a Hopper card.
//
// A block owns 32 channels of one row of the batch and walks its tokens in tiles of 32. Its eight warps have two trades, one warp
// of each on every scheduler:
//   scanners   eight channels a warp, four lanes a channel, four states a lane. Per token only what depends on the state: four
//              ex2, the recurrence, and this lane's share of C h.
//   preparers  everything else: they load, take softplus and dt u once per token and channel, and a tile later add the four
//              shares up, put skip and gate on them and store y. Their work fills the issue slots that a lone scanner leaves.
// Two buffers in shared memory, each with a pair of named barriers: FULL (prepared: scan it) and DONE (scanned: finish it).
//
// What a token costs each of the four schedulers, in cycles: MUFU 32 (scan) + 8 (softplus, gate); issue 32 + 8; shared memory,
// which they have in common, about 35. b and c stay bf16 there: as fp32 they would make that 51, and save a scanner eight
// instructions.

#ifndef LONGBOARD_ON_HOST  // a test runs this file on a CPU, with these few functions of its own
__device__ __forceinline__ float exp2_of(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float log2_of(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float inverse_of(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ unsigned pack(float low, float high) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ __forceinline__ void wait_at(int barrier) { asm volatile("bar.sync %0, 256;" ::"r"(barrier) : "memory"); }
__device__ __forceinline__ void arrive_at(int barrier) { asm volatile("bar.arrive %0, 256;" ::"r"(barrier) : "memory"); }
#endif

constexpr int TILE = 32;    // tokens of a buffer
constexpr int STATES = 16;  // of a channel
#ifndef RUN
#define RUN 32   // tokens that a scanner takes without a branch: a multiple of AHEAD that divides TILE
#define AHEAD 8  // how many tokens early it asks for a token's numbers
#define EARLY 3  // how many tokens early it takes their ex2
#endif
// `ahead` and `decay` are rings of AHEAD slots that a run and a tile must enter at slot 0: each a whole number of turns.
static_assert(RUN % AHEAD == 0 && TILE % RUN == 0 && 0 <= EARLY && EARLY < AHEAD, "a ring would start a tile at another slot");
constexpr int FULL = 1, DONE = 3;        // named barriers, one for each buffer
constexpr unsigned NEVER = 0xff80ff80u;  // minus infinity twice: a dt that softplus makes 0
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// Bytes in shared memory. A chunk is eight channels. The odd strides spread what eight preparers access at once over all banks.
constexpr int PAIR_CHUNK = 80, PAIR_ROW = 320;     // (step, step * u), fp32, of each channel
constexpr int LINE_ROW = 64;                       // for each quarter of the states: four b, four c, bf16
constexpr int SHARE_CHUNK = 144, SHARE_ROW = 576;  // four shares of C h, fp32, of each channel
constexpr int LINES = TILE * PAIR_ROW, SHARES = LINES + TILE * LINE_ROW, BUFFER = SHARES + TILE * SHARE_ROW;

constexpr int SOFTPLUS = 1, HAS_Z = 2, HAS_SKIP = 4, HAS_BIAS = 8, HAS_STATE = 16;  // bits of `flags`

struct alignas(16) Eight {  // bf16 numbers
    unsigned word[4];
};
struct alignas(16) Four {
    float at[4];
};
struct alignas(8) Two {
    float at[2];
};
struct Token {  // what a scanner needs of one
    Two pair;
    Eight line;
};

__device__ __forceinline__ float low_of(unsigned word) { return __uint_as_float(word << 16); }
__device__ __forceinline__ float high_of(unsigned word) { return __uint_as_float(word & 0xffff0000u); }
__device__ __forceinline__ float number(const Eight& eight, int k) {
    return k % 2 ? high_of(eight.word[k / 2]) : low_of(eight.word[k / 2]);
}

__device__ __forceinline__ Eight load_eight(const unsigned short* from, bool inside, unsigned else_word = 0) {
    Eight got = {{else_word, else_word, else_word, else_word}};
    if (inside) got = *reinterpret_cast<const Eight*>(from);
    return got;
}

__device__ __forceinline__ Token look(const char* pairs, const char* lines, int s) {
    return {*reinterpret_cast<const Two*>(pairs + s * PAIR_ROW), *reinterpret_cast<const Eight*>(lines + s * LINE_ROW)};
}

__device__ __forceinline__ void take_decay(float* decay, const Token& token, const float* a) {
#pragma unroll
    for (int n = 0; n < 4; ++n) decay[n] = exp2_of(token.pair.at[0] * a[n]);
}

__device__ __forceinline__ float advance(float* h, const float* decay, const Token& token) {
    float seen = 0.0f;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        h[n] = decay[n] * h[n] + token.pair.at[1] * number(token.line, n);
        seen = n ? h[n] * number(token.line, 4 + n) + seen : h[n] * number(token.line, 4 + n);
    }
    return seen;
}

// A token's numbers are asked for AHEAD tokens early and its ex2 are taken EARLY tokens early, also across the end of a tile: a
// scanner waits for nothing but the preparers.
__device__ void scan(char* shared, const float* a_of, float* state, int chunk, int lane, int tiles, bool live, int flags) {
    const int channel = lane / 4, quarter = lane % 4, at = channel * STATES + quarter * 4;
    float a[4] = {0, 0, 0, 0}, h[4] = {0, 0, 0, 0};
#pragma unroll
    for (int n = 0; n < 4; ++n) {
        if (live) a[n] = a_of[at + n] * LOG2_E;
        if (live && flags & HAS_STATE) h[n] = state[at + n];
    }
    const char* pairs = shared + chunk * PAIR_CHUNK + channel * 8;
    const char* lines = shared + LINES + quarter * 16;
    char* shares = shared + SHARES + chunk * SHARE_CHUNK + lane * 4;
    Token ahead[AHEAD];
    float decay[AHEAD][4];
    wait_at(FULL);
#pragma unroll
    for (int s = 0; s < AHEAD; ++s) ahead[s] = look(pairs, lines, s);
#pragma unroll
    for (int s = 0; s < EARLY; ++s) take_decay(decay[s], ahead[s], a);
    for (int i = 0; i < tiles; ++i) {
        const int jump = i % 2 ? -BUFFER : BUFFER;  // to the other buffer
#pragma unroll 1
        for (int t = 0; t < TILE; t += RUN) {
            const bool last = t + RUN == TILE;
            const char* next_pairs = pairs + (last ? jump - t * PAIR_ROW : RUN * PAIR_ROW);
            const char* next_lines = lines + (last ? jump - t * LINE_ROW : RUN * LINE_ROW);
#pragma unroll
            for (int s = 0; s < RUN; ++s) {
                if (s == RUN - AHEAD && last && i + 1 < tiles) {  // else what is read next is not used
                    if (i % 2) wait_at(FULL);
                    else wait_at(FULL + 1);
                }
                take_decay(decay[(s + EARLY) % AHEAD], ahead[(s + EARLY) % AHEAD], a);
                const float seen = advance(h, decay[s % AHEAD], ahead[s % AHEAD]);
                *reinterpret_cast<float*>(shares + s * SHARE_ROW) = seen;
                const bool here = s + AHEAD < RUN;
                ahead[s % AHEAD] = look(here ? pairs : next_pairs, here ? lines : next_lines, here ? s + AHEAD : s + AHEAD - RUN);
            }
            pairs = next_pairs;
            lines = next_lines;
            shares += last ? jump - t * SHARE_ROW : RUN * SHARE_ROW;
        }
        if (i % 2) arrive_at(DONE + 1);
        else arrive_at(DONE);
    }
    if (live && flags & HAS_STATE) {
#pragma unroll
        for (int n = 0; n < 4; ++n) state[at + n] = h[n];
    }
}

// One token of eight channels: the pairs that the scanners read. log2 e is in `bias` already. A token after the end has a dt of
// minus infinity and is not `inside`: its step is 0, which leaves the state alone.
__device__ __forceinline__ void prepare(
    char* pairs, const Eight& u, const Eight& dt, const float* bias, bool inside, int flags) {
    float step[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) step[k] = number(dt, k) * LOG2_E + bias[k];
    if (flags & SOFTPLUS) {
#pragma unroll
        for (int k = 0; k < 8; ++k) {
            const float grown = log2_of(1.0f + exp2_of(step[k]));
            step[k] = (step[k] > 29.0f ? step[k] : grown) * LN_2;
        }
    } else {
#pragma unroll
        for (int k = 0; k < 8; ++k) step[k] = inside ? step[k] * LN_2 : 0.0f;
    }
#pragma unroll
    for (int k = 0; k < 8; k += 2) {
        *reinterpret_cast<Four*>(pairs + k * 8) =
            Four{{step[k], step[k] * number(u, k), step[k + 1], step[k + 1] * number(u, k + 1)}};
    }
}

// The same token, scanned: the sum over states, skip and gate, as bf16.
__device__ __forceinline__ Eight finish(const char* shares, const Eight& u, const Eight& z, const float* skip, int flags) {
    float y[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        const Four share = *reinterpret_cast<const Four*>(shares + k * 16);
        y[k] = (share.at[0] + share.at[1]) + (share.at[2] + share.at[3]) + skip[k] * number(u, k);
        if (flags & HAS_Z) {
            const float gate = number(z, k);
            y[k] = y[k] * gate * inverse_of(1.0f + exp2_of(gate * -LOG2_E));
        }
    }
    return Eight{{pack(y[0], y[1]), pack(y[2], y[3]), pack(y[4], y[5]), pack(y[6], y[7])}};
}

// u, dt, z, b, c: 16-byte aligned, stride 1 in the last place; the strides of batch and token count eights of numbers, so that a
// million tokens of a wide model fit an int. channels is a multiple of 8; y [B, T, D] and state [B, D, 16] are contiguous.
// Grid: blocks of 32 channels, batch.
extern "C" __global__ void __launch_bounds__(256, 2) scan_by_four_lanes(
    const unsigned short* u_of, const unsigned short* dt_of, const unsigned short* z_of, const unsigned short* b_of,
    const unsigned short* c_of, const float* a_of, const float* skip_of, const float* bias_of, unsigned short* y_of,
    float* state_of, int tokens, int channels, int u_batch, int u_token, int dt_batch, int dt_token, int z_batch, int z_token,
    int b_batch, int b_token, int c_batch, int c_token, int flags) {
    extern __shared__ __align__(16) char shared[];
    const int tiles = (tokens + TILE - 1) / TILE;
    const long long row = blockIdx.y;
    const int thread = threadIdx.x;
    if (thread < 128) {
        const int first = blockIdx.x * 32 + thread / 32 * 8;
        scan(
            shared, a_of + static_cast<long long>(first) * STATES, state_of + (row * channels + first) * STATES, thread / 32,
            thread % 32, tiles, first < channels, flags);
        return;
    }
    const int own = (thread - 128) / 4, chunk = thread % 4;  // own: this thread's token of a tile
    const int first = blockIdx.x * 32 + chunk * 8;
    const bool live = first < channels;
    float bias[8], skip[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        bias[k] = live && flags & HAS_BIAS ? bias_of[first + k] * LOG2_E : 0.0f;
        skip[k] = live && flags & HAS_SKIP ? skip_of[first + k] : 0.0f;
    }
    const long long t = own;
    const unsigned short* u_at = u_of + (row * u_batch + t * u_token) * 8 + first;
    const unsigned short* dt_at = dt_of + (row * dt_batch + t * dt_token) * 8 + first;
    const unsigned short* z_at = z_of + (row * z_batch + t * z_token) * 8 + first;
    // Half of b or of c of a token: two quarters' worth.
    const int line_token = chunk < 2 ? b_token : c_token;
    const unsigned short* line_at = chunk < 2 ? b_of + row * b_batch * 8 : c_of + row * c_batch * 8;
    line_at += (t * line_token + chunk % 2) * 8;
    unsigned short* y_at = y_of + (row * tokens + t) * channels + first;
    char* pairs = shared + own * PAIR_ROW + chunk * PAIR_CHUNK;
    char* lines = shared + LINES + own * LINE_ROW + chunk % 2 * 32 + chunk / 2 * 8;
    const char* shares = shared + SHARES + own * SHARE_ROW + chunk * SHARE_CHUNK;

    // Tile i is asked for in round i - 1, prepared in round i, scanned meanwhile and after, finished in round i + 2.
    Eight us[4], zs[4], dts[2], line[2];
    us[0] = load_eight(u_at, live && own < tokens);
    dts[0] = load_eight(dt_at, live && own < tokens, NEVER);
    line[0] = load_eight(line_at, own < tokens);
    for (int start = 0; start < tiles + 2; start += 4) {
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const int i = start + k, token = i * TILE + own;  // this thread's token of tile i
            if (i >= tiles + 2) break;
            u_at += 8LL * TILE * u_token;
            dt_at += 8LL * TILE * dt_token;
            line_at += 8LL * TILE * line_token;
            us[(k + 1) % 4] = load_eight(u_at, live && token + TILE < tokens);
            dts[(k + 1) % 2] = load_eight(dt_at, live && token + TILE < tokens, NEVER);
            line[(k + 1) % 2] = load_eight(line_at, token + TILE < tokens);
            zs[k] = load_eight(z_at, live && flags & HAS_Z && token < tokens);
            z_at += 8LL * TILE * z_token;
            if (i >= 2) {
                wait_at(DONE + k % 2);
                const Eight y = finish(shares + k % 2 * BUFFER, us[(k + 2) % 4], zs[(k + 2) % 4], skip, flags);
                if (live && token - 2 * TILE < tokens) *reinterpret_cast<Eight*>(y_at) = y;
                y_at += static_cast<long long>(TILE) * channels;
            }
            if (i < tiles) {
                prepare(pairs + k % 2 * BUFFER, us[k], dts[k % 2], bias, token < tokens, flags);
                char* to = lines + k % 2 * BUFFER;
                *reinterpret_cast<uint2*>(to) = uint2{line[k % 2].word[0], line[k % 2].word[1]};
                *reinterpret_cast<uint2*>(to + 16) = uint2{line[k % 2].word[2], line[k % 2].word[3]};
                arrive_at(FULL + k % 2);
            }
        }
    }
}
