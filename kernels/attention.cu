// Heads rotated, keys and values in pages of 64 positions, and attention over them. HEAD is the number of elements of a head, a
// multiple of 16; EIGHT_BITS is 1 for a cache of q8_0, where it is one of 32. The cache lies as on the CPU (`fused/kv.rs` of the
// engine): the part of a page for a layer and a KV head is its keys transposed, [HEAD][64], its values, [64][HEAD], and in q8_0
// the f16 scales of the keys' blocks of 32, [HEAD / 32][64], and of the values'. Products are on tensor cores, with queries and
// shares as two f16 each, and sums in single precision, in an order that depends on the position alone: the same bits in every
// batch and every cut of a prompt.

#include "base.cuh"
#include "halves.cuh"

static constexpr u32 PAGE = 64;
static constexpr u32 BLOCKS = HEAD / 32;
static constexpr u32 CELL = EIGHT_BITS ? 1 : 2;
static constexpr u64 PART_BYTES = 2 * PAGE * HEAD * CELL + (EIGHT_BITS ? 2 * PAGE * BLOCKS * 2 : 0);

// Which part of the cache: its address is that of part (page * layers + layer) * kv_heads + head.
static __device__ __forceinline__ u8 *part_of(u8 *cache, u32 page, u32 layers, u32 layer, u32 kv_heads, u32 head) {
    return cache + (((u64)page * layers + layer) * kv_heads + head) * PART_BYTES;
}

static __device__ __forceinline__ u16 *scales_of_keys(u8 *part) { return (u16 *)(part + 2 * PAGE * HEAD * CELL); }
static __device__ __forceinline__ u16 *scales_of_values(u8 *part) { return scales_of_keys(part) + PAGE * BLOCKS; }

#if EIGHT_BITS
// The integer and the scale of this lane's element of a block of 32: whole multiples of the largest / 127.
static __device__ __forceinline__ void eight_bits(float value, i8 &quant, float &scale) {
    float most = warp_max(fabsf(value));
    // A maximum may lose what is no number, so it is looked for: it must come out as a scale that is none.
    bool finite = __all_sync(ALL_LANES, is_finite(value));
    scale = finite ? most / 127.0f : __uint_as_float(0x7fc00000u);
    bool normal = finite && scale >= __uint_as_float(0x00800000u);
    quant = normal ? (i8)(int)rintf(value * (127.0f / most)) : 0;
}
#endif

// A row of each token has its queries, keys and values, one head after the other. Every head gets its part of `bias`; a query
// and a key are normed by their weights, and rotated by their position: each where that is given. Queries are then multiplied
// by `scale` and written back; keys and values go to the token's slot of the cache. `angles` are cosines and sines in turn,
// [positions][pairs]; a pair are two neighbours, or an element and the one `pairs` after it. Token t has position
// positions[t], in page pages[first_page[t] + position / 64]. Grid: heads + 2 * kv_heads, tokens.
extern "C" __global__ void __launch_bounds__(THREADS)
place_heads(float *rows, u32 stride, u32 heads, const float *bias, const float *query_norm, const float *key_norm, float epsilon,
            const float *angles, u32 pairs, u32 neighbours, float scale, const u32 *positions, const u32 *first_page,
            const u32 *pages, u8 *cache, u32 layers, u32 layer, u32 kv_heads) {
    __shared__ float element[HEAD], room[WARPS];
    u32 head = blockIdx.x, token = blockIdx.y, position = positions[token];
    bool query = head < heads, value = head >= heads + kv_heads;
    float *row = rows + (u64)token * stride + head * HEAD;
    for (u32 i = threadIdx.x; i < HEAD; i += THREADS) element[i] = bias ? row[i] + bias[head * HEAD + i] : row[i];
    const float *norm = query ? query_norm : value ? nullptr : key_norm;
    if (norm) {
        float squares = 0.0f;
        for (u32 i = threadIdx.x; i < HEAD; i += THREADS) squares = fmaf(element[i], element[i], squares);
        float by = 1.0f / sqrtf(block_sum(squares, room) / (float)HEAD + epsilon);
        for (u32 i = threadIdx.x; i < HEAD; i += THREADS) element[i] = element[i] * by * norm[i];
    }
    __syncthreads();
    if (!value) {
        float by = query ? scale : 1.0f;
        const float *of_position = angles + (u64)position * pairs * 2;
        for (u32 pair = threadIdx.x; pair < pairs; pair += THREADS) {
            u32 first = neighbours ? 2 * pair : pair, second = neighbours ? first + 1 : pair + pairs;
            float a = element[first], b = element[second];
            float cosine = of_position[2 * pair], sine = of_position[2 * pair + 1];
            element[first] = (a * cosine - b * sine) * by;
            element[second] = (a * sine + b * cosine) * by;
        }
        for (u32 i = 2 * pairs + threadIdx.x; i < HEAD; i += THREADS) element[i] *= by;
        __syncthreads();
    }
    if (query) {
        for (u32 i = threadIdx.x; i < HEAD; i += THREADS) row[i] = element[i];
        return;
    }
    u32 kv_head = (head - heads) % kv_heads, slot = position % PAGE;
    u8 *part = part_of(cache, pages[first_page[token] + position / PAGE], layers, layer, kv_heads, kv_head);
    // From one element of a head to the next, and the first: keys lie transposed.
    u32 step = value ? 1 : PAGE, first = value ? PAGE * HEAD + slot * HEAD : slot;
#if EIGHT_BITS
    i8 *to = (i8 *)part + first;
    u16 *scales = value ? scales_of_values(part) : scales_of_keys(part);
    u32 lane = threadIdx.x % 32;
    for (u32 block = threadIdx.x / 32; block < BLOCKS; block += WARPS) {
        u32 i = block * 32 + lane;
        i8 quant;
        float unit;
        eight_bits(element[i], quant, unit);
        to[i * step] = quant;
        if (lane == 0) scales[block * PAGE + slot] = to_f16(unit);
    }
#else
    u16 *to = (u16 *)part + first;
    for (u32 i = threadIdx.x; i < HEAD; i += THREADS) to[i * step] = to_f16(element[i]);
#endif
}

// Pages of a part of a context: parts are computed at the same time, and put together by `combine`. Where they begin depends
// on the position alone.
static constexpr u32 PART = 8;
// A part's result: its largest score, the sum of its shares, and the mixed values.
static constexpr u32 STATE = HEAD + 2;
// Rows of a tile, which are query heads of one or several tokens.
static constexpr u32 ROWS = 16;
// A tile has four warps, SHARERS of which split the positions of a part. A warp has no registers for the sums of a large head:
// there OWNERS warps compute the same scores, and each has OWN elements of the values.
static constexpr u32 OWNERS = HEAD > 256 && HEAD % 128 == 0 ? 4 : HEAD > 128 && HEAD % 64 == 0 ? 2 : 1;
static constexpr u32 SHARERS = WARPS / OWNERS, OWN = HEAD / OWNERS;
// Tiles of a block for prompts, whose queries must fit in shared memory; as in `launch/attention.rs` of the engine.
static constexpr u32 OF_PROMPT = HEAD > 256 ? 1 : 2;
// Positions that a warp takes at once, and how many neighbours among them are columns of one lane.
static constexpr u32 SLOTS = 32, OF_LANE = SLOTS / 8;
// Shares are multiplied by this on their way to f16, so that small ones keep their bits. In a cache of q8_0 they are multiplied by
// the values' scale too, and f16 holds that for values of up to 127 * 65504 / SHARES, twice what a cache of f16 does.
static constexpr float SHARES = 64.0f;

// A number as f16 and what that lacks, of each of a pair: together 22 bits, which is nearly single precision.
static __device__ __forceinline__ void two_halves(float a, float b, u32 &most, u32 &rest) {
    u32 of_a = to_f16(a), of_b = to_f16(b);
    most = of_a | of_b << 16;
    rest = (u32)to_f16(a - from_f16((u16)of_a)) | (u32)to_f16(b - from_f16((u16)of_b)) << 16;
}

template <u32 WORDS> static __device__ __forceinline__ void load_words(u32 to[WORDS], const u8 *from) {
    if constexpr (WORDS == 4) {
        uint4 all = *(const uint4 *)from;
        to[0] = all.x;
        to[1] = all.y;
        to[2] = all.z;
        to[3] = all.w;
    } else if constexpr (WORDS == 2) {
        uint2 all = *(const uint2 *)from;
        to[0] = all.x;
        to[1] = all.y;
    } else {
        to[0] = *(const u32 *)from;
    }
}

// Element `j` of what a lane has of two rows, as a pair of f16.
static __device__ __forceinline__ u32 pair_of(const u32 *a, const u32 *b, u32 j) {
#if EIGHT_BITS
    // A byte with its highest bit turned is the integer and 128 more; as the last bits of an f16 from 1024 on it counts ones.
    u32 bytes = __byte_perm(a[j / 4], b[j / 4], j % 4 | (4 + j % 4) << 8);
    return add_pair((bytes & 0x00ff00ffu) ^ 0x64806480u, 0xe480e480u);
#else
    return __byte_perm(a[j / 2], b[j / 2], j % 2 ? 0x7632 : 0x5410);
#endif
}

// sums += (most + rest) * b, of 16 depths; b is COLUMNS neighbours of rows of the cache, of which `rows` are this lane's: its
// two depths, and the two 8 deeper, from its first column on. Lane 4 g + t has columns g * COLUMNS / 8 and so on, and column
// j of `multiply_add` number n is column j * COLUMNS / 8 + n: any order does, if sums are read in the same one.
template <u32 COLUMNS>
static __device__ __forceinline__ void multiply_rows(float (*sums)[4], const u32 most[4], const u32 rest[4],
                                                     const u8 *const rows[4]) {
    constexpr u32 WORDS = COLUMNS / 8 * CELL / 4;
    u32 words[4][WORDS];
#pragma unroll
    for (u32 row = 0; row < 4; ++row) load_words<WORDS>(words[row], rows[row]);
#pragma unroll
    for (u32 j = 0; j < COLUMNS / 8; ++j) {
        u32 b0 = pair_of(words[0], words[1], j), b1 = pair_of(words[2], words[3], j);
        multiply_add(sums[j], most, b0, b1);
        multiply_add(sums[j], rest, b0, b1);
    }
}

// Where an element of a row's mixed values lies: so that the lanes that write at once, eight rows and elements 8 or 16 apart, write
// to different banks.
static __device__ __forceinline__ float *mixed_at(u32 *room, u32 row, u32 element) {
    return (float *)room + row * HEAD + (element ^ row % 8 ^ (element >> 2 & 8));
}

// What a tile's row sees of its sequence: positions from `first` to before `end`.
struct Seen {
    u32 first, end;
};

static __device__ __forceinline__ Seen seen_from(u32 position, u32 window) {
    return {window && position >= window ? position + 1 - window : 0, position + 1};
}

#if EIGHT_BITS
// The scales of a block of this lane's keys of SLOTS from `slot` on: first those of sums[0], then of sums[1].
static __device__ __forceinline__ void scales_at(float to[2 * OF_LANE], u8 *part, u32 block, u32 slot) {
    u32 words[OF_LANE];
    const u16 *from = scales_of_keys(part) + block * PAGE + slot + threadIdx.x % 4 * 2 * OF_LANE;
#pragma unroll
    for (u32 four = 0; four < OF_LANE; four += 4) load_words<4>(words + four, (const u8 *)from + 4 * four);
#pragma unroll
    for (u32 i = 0; i < OF_LANE; ++i) {
        to[2 * i] = from_f16((u16)words[i]);
        to[2 * i + 1] = from_f16((u16)(words[i] >> 16));
    }
}
#endif

// Scores of a tile's queries, as fragments in `queries`, with the keys of SLOTS positions from `slot` on.
static __device__ __forceinline__ void score_keys(float scores[OF_LANE][4], const u32 *queries, u8 *part, u32 slot) {
    u32 lane = threadIdx.x % 32, t = lane % 4;
    constexpr u32 ROW = PAGE * CELL;
    const u8 *keys = part + 2 * t * ROW + (slot + lane / 4 * OF_LANE) * CELL;
    const uint4 *fragments = (const uint4 *)queries + lane;
#if EIGHT_BITS
    constexpr u32 AT_ONCE = 2;
#else
    constexpr u32 AT_ONCE = 1;
#endif
#pragma unroll (HEAD > 256 ? 1 : 4)
    for (u32 step = 0; step < HEAD / 16; step += AT_ONCE) {
#if EIGHT_BITS
        float sums[OF_LANE][4] = {};
#else
        float(*sums)[4] = scores;
#endif
#pragma unroll
        for (u32 one = step; one < step + AT_ONCE; ++one) {
            uint4 first = fragments[64 * one], second = fragments[64 * one + 32];
            const u32 most[4] = {first.x, first.y, first.z, first.w}, rest[4] = {second.x, second.y, second.z, second.w};
            const u8 *row = keys + 16 * one * ROW;
            const u8 *const rows[4] = {row, row + ROW, row + 8 * ROW, row + 9 * ROW};
            multiply_rows<SLOTS>(sums, most, rest, rows);
        }
#if EIGHT_BITS
        float scales[2 * OF_LANE];
        scales_at(scales, part, step / 2, slot);
#pragma unroll
        for (u32 j = 0; j < OF_LANE; ++j)
#pragma unroll
            for (u32 i = 0; i < 4; ++i) scores[j][i] = fmaf(sums[j][i], scales[i % 2 * OF_LANE + j], scores[j][i]);
#endif
    }
}

// Shares of 16 positions as fragments.
struct Fragments {
    u32 most[4], rest[4];

    // Of `multiply_add` number 2 s of the scores (`a`) and of the one after it (`b`).
    __device__ __forceinline__ Fragments(const float a[4], const float b[4]) {
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            // The first row and the second, at the first depths, then at those 8 deeper.
            u32 from = i % 2 * 2 + i / 2;
            two_halves(SHARES * a[from], SHARES * b[from], most[i], rest[i]);
        }
    }
};

// mixed += shares * values, of COLUMNS elements from `first` on; `rows` are where this lane's begin, in bytes.
template <u32 COLUMNS>
static __device__ __forceinline__ void mix_columns(float mixed[OWN / 8][4], const Fragments &shares, const u8 *values, u32 first,
                                                   const u32 rows[4]) {
    values += (first + threadIdx.x % 32 / 4 * (COLUMNS / 8)) * CELL;
    const u8 *const at[4] = {values + rows[0], values + rows[1], values + rows[2], values + rows[3]};
    multiply_rows<COLUMNS>(mixed + first / 8, shares.most, shares.rest, at);
}

// The same with all of this warp's elements, from `element` on, of SLOTS positions from `slot` on. Values from slot `end` on are
// not there, and their shares are zero: the last that is there is read in their place.
static __device__ __forceinline__ void mix_values(float mixed[OWN / 8][4], const float shares[OF_LANE][4], u8 *part, u32 element,
                                                  u32 slot, u32 end) {
    const u8 *values = part + (PAGE * HEAD + element) * CELL;
    u32 first_slot = slot + threadIdx.x % 4 * 2 * OF_LANE;
#pragma unroll
    for (u32 s = 0; s < OF_LANE / 2; ++s) {
        const u32 slots[2] = {first_slot + 2 * s, first_slot + 2 * s + OF_LANE};
        u32 rows[4];
#pragma unroll
        for (u32 row = 0; row < 4; ++row) rows[row] = min(slots[row / 2] + row % 2, end - 1) * (HEAD * CELL);
        const float *a = shares[2 * s], *b = shares[2 * s + 1];
#if EIGHT_BITS
#pragma unroll
        for (u32 block = 0; block < OWN / 32; ++block) {
            const u16 *scales = scales_of_values(part) + (element / 32 + block) * PAGE;
            float of_a[4], of_b[4];
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                u32 at = slots[i % 2], both = *(const u32 *)(scales + at);
                // A scale that is not there may be none.
                of_a[i] = at < end ? a[i] * from_f16((u16)both) : 0.0f;
                of_b[i] = at + 1 < end ? b[i] * from_f16((u16)(both >> 16)) : 0.0f;
            }
            mix_columns<32>(mixed, Fragments(of_a, of_b), values, 32 * block, rows);
        }
#else
        const Fragments fragments(a, b);
#pragma unroll
        for (u32 first = 0; first + 64 <= OWN; first += 64) mix_columns<64>(mixed, fragments, values, first, rows);
        if constexpr (OWN % 64 >= 32) mix_columns<32>(mixed, fragments, values, OWN / 64 * 64, rows);
        if constexpr (OWN % 32 >= 16) mix_columns<16>(mixed, fragments, values, OWN - 16, rows);
#endif
    }
}

// The element, of the warp's own, whose sums[0] or sums[1] this lane has of `multiply_add` number n of `mix_values`.
static __device__ __forceinline__ u32 element_of(u32 n, u32 which) {
    u32 first = n / 8 * 64, j = n % 8, of_lane = 8;
    if (EIGHT_BITS || first + 64 > OWN) {
        bool last = !EIGHT_BITS && OWN % 32 >= 16 && n * 8 >= OWN - 16;
        of_lane = last ? 2 : 4;
        first = last ? OWN - 16 : n / 4 * 32;
        j = n - first / 8;
    }
    return first + (threadIdx.x % 4 * 2 + which) * of_lane + j;
}

// Queries of this row as fragments, times the power of two that suits them; what this gives undoes it.
static __device__ __forceinline__ float place_query(u32 *fragments, const float *query, u32 row) {
    constexpr u32 PAIRS = (HEAD / 2 + 31) / 32;
    u32 lane = threadIdx.x % 32;
    float2 pairs[PAIRS];
    float most = 0.0f;
#pragma unroll
    for (u32 n = 0; n < PAIRS; ++n) {
        u32 k = 2 * (n * 32 + lane);
        pairs[n] = query && k < HEAD ? *(const float2 *)(query + k) : make_float2(0.0f, 0.0f);
        most = fmaxf(most, fmaxf(fabsf(pairs[n].x), fabsf(pairs[n].y)));
    }
    const Power power(warp_max(most));
#pragma unroll
    for (u32 n = 0; n < PAIRS; ++n) {
        u32 k = 2 * (n * 32 + lane);
        if (k >= HEAD) continue;
        u32 *to = fragments + k / 16 * 256 + (row % 8 * 4 + k % 8 / 2) * 4 + row / 8 + k % 16 / 8 * 2;
        two_halves(pairs[n].x * power.to, pairs[n].y * power.to, to[0], to[128]);
    }
    return power.back;
}

// What scores are compared with before they are exponents: the largest, or where a row sees nothing yet zero, so that all shares
// are zero and none is no number.
static __device__ __forceinline__ float base_of(float largest) { return largest == minus_infinity() ? 0.0f : largest; }

// A running softmax of two rows of a lane (Milakov and Gimelshein, 2018).
struct Running {
    float largest[2], sum[2], mixed[OWN / 8][4];

    __device__ __forceinline__ Running() : largest{minus_infinity(), minus_infinity()}, sum{}, mixed{} {}

    // Takes SLOTS positions of a page from `slot` on, and of their values OWN elements from `element` on. `position` is that of the
    // page's first slot, `factors` undo what was done to the rows' queries, and `end` is the first slot that none of the tile's
    // rows sees. What a row does not see counts zero times its value: a value that is not finite makes all rows of its sequence
    // in the tile none, and the engine says of the step that it is not finite.
    __device__ __forceinline__ void take(const u32 *queries, const float factors[2], const Seen rows[2], u8 *part, u32 element,
                                         u32 position, u32 slot, u32 end) {
        float shares[OF_LANE][4] = {};
        score_keys(shares, queries, part, slot);
        u32 first = position + slot + threadIdx.x % 4 * 2 * OF_LANE;
        float most[2] = {largest[0], largest[1]};
#pragma unroll
        for (u32 j = 0; j < OF_LANE; ++j)
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                u32 at = first + i % 2 * OF_LANE + j;
                bool seen = at >= rows[i / 2].first && at < rows[i / 2].end;
                shares[j][i] = seen ? __fmul_rn(shares[j][i], factors[i / 2]) : minus_infinity();
                most[i / 2] = fmaxf(most[i / 2], shares[j][i]);
            }
        float before[2], more[2] = {};
#pragma unroll
        for (u32 row = 0; row < 2; ++row) {
            most[row] = fmaxf(most[row], __shfl_xor_sync(ALL_LANES, most[row], 1));
            most[row] = fmaxf(most[row], __shfl_xor_sync(ALL_LANES, most[row], 2));
            before[row] = expf(largest[row] - base_of(most[row]));
            largest[row] = most[row];
            most[row] = base_of(most[row]);
        }
#pragma unroll
        for (u32 j = 0; j < OF_LANE; ++j)
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                shares[j][i] = expf(shares[j][i] - most[i / 2]);
                more[i / 2] += shares[j][i];
            }
#pragma unroll
        for (u32 row = 0; row < 2; ++row) sum[row] = fmaf(sum[row], before[row], more[row]);
#pragma unroll
        for (u32 n = 0; n < OWN / 8; ++n)
#pragma unroll
            for (u32 i = 0; i < 4; ++i) mixed[n][i] *= before[i / 2];
        mix_values(mixed, shares, part, element, slot, end);
    }
};

// Attention of a block's heads, which have one KV head, of one or several tokens to one part of the positions that each sees:
// with a `window` the last so many, its own among them, else all. Heads and tokens are the rows of TILES tiles; sequences take
// turns. As long as all is finite, what a row gets does not depend on the other rows: it is the same bits in every batch and every
// TILES. Queries are scaled. Grid: kv_heads * (group / (TILES * ROWS) rounded up), tokens from `first_token` to before `end_token`
// by `together`, parts. Results: [tokens][heads][parts][STATE].
template <u32 TILES>
static __device__ __forceinline__ void attend_rows(const float *queries, u32 stride, const u32 *positions, const u32 *first_page,
                                                   const u32 *pages, u8 *cache, u32 layers, u32 layer, u32 kv_heads, u32 group,
                                                   u32 window, u32 first_token, u32 end_token, u32 together, float *results) {
    // A tile's queries as fragments, and later its mixed values.
    __shared__ __align__(16) u32 room[TILES][ROWS * HEAD];
    __shared__ float of_rows[TILES][ROWS];
    __shared__ float2 states[TILES][SHARERS][ROWS];
    u32 blocks = gridDim.x / kv_heads, kv_head = blockIdx.x / blocks, first_head = blockIdx.x % blocks * TILES * ROWS;
    u32 heads = min(group - first_head, TILES * ROWS);
    first_head += kv_head * group;
    u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32, tile = warp / WARPS;
    u32 sharer = warp % SHARERS, element = warp / SHARERS % OWNERS * OWN;
    u32 token = first_token + blockIdx.y * together;
    end_token = min(end_token, token + together);
    for (u32 next; token < end_token; token = next) {
        // Tokens of one sequence, a lane each, and what any of them sees.
        u32 mine = min(token + lane, end_token - 1), sequence = first_page[token];
        u32 others = __ballot_sync(ALL_LANES, token + lane >= end_token || first_page[mine] != sequence);
        next = others ? token + __ffs((int)others) - 1 : token + 32;
        Seen all = seen_from(positions[min(mine, next - 1)], window);
#pragma unroll
        for (u32 step = 16; step > 0; step /= 2) {
            all.first = min(all.first, __shfl_xor_sync(ALL_LANES, all.first, step));
            all.end = max(all.end, __shfl_xor_sync(ALL_LANES, all.end, step));
        }
        u32 rows = (next - token) * heads;
        auto result = [&](u32 row) {
            u32 of_token = (token - first_token + row / heads) * kv_heads * group + first_head + row % heads;
            return results + ((u64)of_token * gridDim.z + blockIdx.z) * STATE;
        };
        u32 begin = max(all.first / PAGE, blockIdx.z * PART), end = min((all.end - 1) / PAGE + 1, blockIdx.z * PART + PART);
        if (begin >= end) {
            // They see nothing of this part: a sum of zero says so.
            if (threadIdx.x < rows) result(threadIdx.x)[1] = 0.0f;
            continue;
        }
#pragma unroll
        for (u32 n = 0; n < ROWS / WARPS; ++n) {
            u32 row = warp % WARPS + n * WARPS, number = tile * ROWS + row;
            const float *query = queries + (u64)(token + number / heads) * stride + (first_head + number % heads) * HEAD;
            float factor = place_query(room[tile], number < rows ? query : nullptr, row);
            if (lane == 0) of_rows[tile][row] = factor;
        }
        __syncthreads();
        Running running;
        Seen seen[2];
        float factors[2];
#pragma unroll
        for (u32 which = 0; which < 2; ++which) {
            u32 row = lane / 4 + 8 * which, number = tile * ROWS + row;
            seen[which] = number < rows ? seen_from(positions[token + number / heads], window) : Seen{0, 0};
            factors[which] = of_rows[tile][row];
        }
        // Turns of SLOTS positions. Which are this warp's depends on the positions alone.
        constexpr u32 TURNS = PAGE / SLOTS;
        u32 first_turn = max(all.first / SLOTS, begin * TURNS);
        for (u32 turn = first_turn + (sharer - first_turn) % SHARERS; turn < end * TURNS && tile * ROWS < rows; turn += SHARERS) {
            u32 page = turn / TURNS, slot = turn % TURNS * SLOTS;
            if (page * PAGE + slot >= all.end) break;
            u8 *part = part_of(cache, pages[sequence + page], layers, layer, kv_heads, kv_head);
            running.take(room[tile], factors, seen, part, element, page * PAGE, slot, min(all.end - page * PAGE, PAGE));
        }
#pragma unroll
        for (u32 which = 0; which < 2; ++which) {
            running.sum[which] += __shfl_xor_sync(ALL_LANES, running.sum[which], 1);
            running.sum[which] += __shfl_xor_sync(ALL_LANES, running.sum[which], 2);
            if (lane % 4 == 0 && element == 0)
                states[tile][sharer][lane / 4 + 8 * which] = make_float2(running.largest[which], running.sum[which]);
        }
        // Nobody reads queries any more.
        __syncthreads();
#pragma unroll
        for (u32 which = 0; which < 2; ++which) {
            u32 row = lane / 4 + 8 * which;
            float largest = minus_infinity(), sum = 0.0f;
#pragma unroll
            for (u32 of = 0; of < SHARERS; ++of) largest = fmaxf(largest, states[tile][of][row].x);
            float base = base_of(largest);
#pragma unroll
            for (u32 of = 0; of < SHARERS; ++of) sum = fmaf(states[tile][of][row].y, expf(states[tile][of][row].x - base), sum);
            factors[which] = expf(running.largest[which] - base) * (1.0f / SHARES);
            if (warp % WARPS == 0 && lane % 4 == 0 && tile * ROWS + row < rows) {
                float *to = result(tile * ROWS + row);
                to[0] = largest;
                to[1] = sum;
            }
        }
        // One warp after the other, so that the order of the sum is always the same.
        for (u32 of = 0; of < SHARERS; ++of) {
            if (sharer == of)
#pragma unroll
                for (u32 n = 0; n < OWN / 8; ++n)
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) {
                        float *to = mixed_at(room[tile], lane / 4 + i / 2 * 8, element + element_of(n, i % 2));
                        *to = fmaf(running.mixed[n][i], factors[i / 2], of == 0 ? 0.0f : *to);
                    }
            __syncthreads();
        }
        for (u32 row = warp; row < rows; row += TILES * WARPS) {
            float *to = result(row) + 2;
            for (u32 i = lane; i < HEAD; i += 32) to[i] = *mixed_at(room[0], row, i);
        }
        __syncthreads();
    }
}

// For steps of one token of each sequence.
extern "C" __global__ void __launch_bounds__(THREADS, 2)
attend_one(const float *queries, u32 stride, const u32 *positions, const u32 *first_page, const u32 *pages, u8 *cache, u32 layers,
           u32 layer, u32 kv_heads, u32 group, u32 window, u32 first_token, u32 end_token, u32 together, float *results) {
    attend_rows<1>(queries, stride, positions, first_page, pages, cache, layers, layer, kv_heads, group, window, first_token,
                   end_token, together, results);
}

// For prompts. With two tiles in a block the second finds keys and values in the L1.
extern "C" __global__ void __launch_bounds__(OF_PROMPT * THREADS, 1)
attend(const float *queries, u32 stride, const u32 *positions, const u32 *first_page, const u32 *pages, u8 *cache, u32 layers,
       u32 layer, u32 kv_heads, u32 group, u32 window, u32 first_token, u32 end_token, u32 together, float *results) {
    attend_rows<OF_PROMPT>(queries, stride, positions, first_page, pages, cache, layers, layer, kv_heads, group, window,
                           first_token, end_token, together, results);
}

// Elements of a head that a thread puts together at most.
static constexpr u32 MINE = (HEAD + THREADS - 1) / THREADS;

// Takes a part's largest score and the sum of its shares to those of the parts before it: their values count `before`, those of
// the part `share`.
static __device__ __forceinline__ void take_part(float score, float of_part, float &largest, float &sum, float &before,
                                                 float &share) {
    float most = fmaxf(largest, score);
    before = expf(largest - most);
    share = expf(score - most);
    sum = fmaf(of_part, share, sum * before);
    largest = most;
}

// Puts the parts of each token and head together, in their order. `sinks` are scores without a key, one for each head, where
// given. Grid: heads, tokens from number `first_token` on.
extern "C" __global__ void __launch_bounds__(THREADS)
combine(const float *results, u32 parts, const float *sinks, u32 first_token, float *out, u32 out_stride) {
    u32 head = blockIdx.x;
    const float *result = results + ((u64)blockIdx.y * gridDim.x + head) * parts * STATE;
    float largest = sinks ? sinks[head] : minus_infinity();
    float sum = sinks ? 1.0f : 0.0f;
    float mixed[MINE];
#pragma unroll
    for (u32 m = 0; m < MINE; ++m) mixed[m] = 0.0f;
    for (u32 part = 0; part < parts; ++part, result += STATE) {
        float of_part = result[1], before, share;
        if (of_part == 0.0f) continue;
        take_part(result[0], of_part, largest, sum, before, share);
#pragma unroll
        for (u32 m = 0; m < MINE; ++m) {
            u32 i = threadIdx.x + m * THREADS;
            if (i < HEAD) mixed[m] = fmaf(result[2 + i], share, mixed[m] * before);
        }
    }
#pragma unroll
    for (u32 m = 0; m < MINE; ++m) {
        u32 i = threadIdx.x + m * THREADS;
        if (i < HEAD) out[(u64)(first_token + blockIdx.y) * out_stride + head * HEAD + i] = mixed[m] / sum;
    }
}

// The same for all heads of a token, of a context of FEW_PARTS at most, and `halve` of its row. First what each part counts, a
// thread a head; then the values, so that many are on their way at once. Grid: tokens from number `first_token` on, blocks of
// HALVING threads; MOST_HEADS at most.
static constexpr u32 FEW_PARTS = 8, MOST_HEADS = 128;

extern "C" __global__ void __launch_bounds__(HALVING)
combine_halve(const float *__restrict__ results, u32 parts, const float *sinks, u32 first_token, float *__restrict__ out,
              u32 out_stride, u32 heads, u16 *halves, u32 stride, u16 *block_sums, float *factors) {
    __shared__ float room[HALVING / 32], sums[MOST_HEADS], befores[MOST_HEADS][FEW_PARTS], shares[MOST_HEADS][FEW_PARTS];
    u32 token = first_token + blockIdx.x;
    const float *of_token = results + (u64)blockIdx.x * heads * parts * STATE;
    float *row = out + (u64)token * out_stride;
    for (u32 head = threadIdx.x; head < heads; head += HALVING) {
        float largest = sinks ? sinks[head] : minus_infinity();
        float sum = sinks ? 1.0f : 0.0f;
        for (u32 part = 0; part < parts; ++part) {
            const float *result = of_token + (head * parts + part) * STATE;
            // Of a part of which the token sees nothing there is nothing else to read.
            float of_part = result[1], before = 0.0f, share = -1.0f;
            if (of_part != 0.0f) take_part(result[0], of_part, largest, sum, before, share);
            befores[head][part] = before;
            shares[head][part] = share;
        }
        sums[head] = sum;
    }
    __syncthreads();
#pragma unroll 4
    for (u32 element = threadIdx.x; element < heads * HEAD; element += HALVING) {
        u32 head = element / HEAD;
        const float *value = of_token + head * parts * STATE + 2 + element % HEAD;
        float mixed = 0.0f;
        for (u32 part = 0; part < parts; ++part, value += STATE) {
            float share = shares[head][part];
            // A share that is no number must show.
            if (!(share < 0.0f)) mixed = fmaf(*value, share, mixed * befores[head][part]);
        }
        row[element] = mixed / sums[head];
    }
    __syncthreads();
    halve_row(row, heads * HEAD, {halves, stride, block_sums, factors}, token, room);
}
