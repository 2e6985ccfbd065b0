// Heads rotated, keys and values in pages of 64 positions, and attention over them. HEAD is the number of elements of a head, a
// multiple of 16; EIGHT_BITS is 1 for a cache of q8_0, where it is one of 32; GROUP is 1, 2, 4 or 8 query heads that read keys
// and values together. The cache lies as on the CPU (`fused/kv.rs` of the engine): the part of a page for a layer and a KV
// head is its keys transposed, [HEAD][64], its values, [64][HEAD], and in q8_0 the f16 scales of the keys' blocks of 32,
// [HEAD / 32][64], and of the values'. Sums are in single precision, page after page and part after part from the first that
// a token sees: the same bits in every batch and every cut of a prompt.

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

static __device__ __forceinline__ float key_at(u8 *part, u32 i, u32 slot) {
#if EIGHT_BITS
    return (float)((i8 *)part)[i * PAGE + slot] * from_f16(scales_of_keys(part)[i / 32 * PAGE + slot]);
#else
    return from_f16(((u16 *)part)[i * PAGE + slot]);
#endif
}

static __device__ __forceinline__ float value_at(u8 *part, u32 slot, u32 i) {
#if EIGHT_BITS
    float quant = (float)((i8 *)part)[PAGE * HEAD + slot * HEAD + i];
    return quant * from_f16(scales_of_values(part)[i / 32 * PAGE + slot]);
#else
    return from_f16(((u16 *)part)[PAGE * HEAD + slot * HEAD + i]);
#endif
}

// Elements of a head that a thread mixes at most.
static constexpr u32 MINE = (HEAD + THREADS - 1) / THREADS;
// Pages of a part of a context: parts are computed at the same time, and put together by `combine`. Where they begin depends
// on the position alone.
static constexpr u32 PART = 8;
// A part's result: its largest score, the sum of its shares, and the mixed values.
static constexpr u32 STATE = HEAD + 2;

// What each query head of a block has at one place of shared memory.
template <u32 HEADS> static __device__ __forceinline__ void load_group(float to[HEADS], const float *from) {
    if constexpr (HEADS >= 4) {
#pragma unroll
        for (u32 n = 0; n < HEADS; n += 4) {
            float4 four = *(const float4 *)(from + n);
            to[n] = four.x;
            to[n + 1] = four.y;
            to[n + 2] = four.z;
            to[n + 3] = four.w;
        }
    } else {
#pragma unroll
        for (u32 n = 0; n < HEADS; ++n) to[n] = from[n];
    }
}

// Attention of HEADS query heads, which have one KV head, of one token to one part of the positions that it sees: with a
// `window` the last so many, its own among them, else all. A key or value is read once for all of them; each head's sums are
// those that it would have alone. Queries are scaled. Softmax as a running largest score and sum (Milakov and Gimelshein,
// 2018). Grid: kv_heads * (group / HEADS rounded up), tokens from number `first_token` on, parts. Results:
// [tokens][heads][parts][STATE].
template <u32 HEADS>
static __device__ __forceinline__ void attend_heads(const float *queries, u32 stride, const u32 *positions, const u32 *first_page,
                                                    const u32 *pages, u8 *cache, u32 layers, u32 layer, u32 kv_heads, u32 group,
                                                    u32 window, u32 first_token, float *results) {
    __shared__ __align__(16) float query[HEAD][HEADS], shares[PAGE][HEADS], befores[HEADS];
    __shared__ float halves[2][HEADS][PAGE];
    u32 blocks = gridDim.x / kv_heads, kv_head = blockIdx.x / blocks, first_head = blockIdx.x % blocks * HEADS;
    u32 heads = min(group - first_head, HEADS), token = first_token + blockIdx.y;
    u32 thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    u32 position = positions[token];
    u32 first = window && position >= window ? position + 1 - window : 0;
    u32 begin = max(first / PAGE, blockIdx.z * PART), end = min(position / PAGE + 1, blockIdx.z * PART + PART);
    first_head += kv_head * group;
    float *result = results + (((u64)blockIdx.y * kv_heads * group + first_head) * gridDim.z + blockIdx.z) * STATE;
    // From one head's result to the next one's.
    u32 step = gridDim.z * STATE;
    if (begin >= end) {
        // The token sees nothing of this part: a sum of zero says so.
        if (thread < heads) result[thread * step + 1] = 0.0f;
        return;
    }
    const float *of_token = queries + (u64)token * stride + first_head * HEAD;
    for (u32 i = thread; i < HEAD; i += THREADS)
#pragma unroll
        // Those beyond the last head are computed and not written.
        for (u32 n = 0; n < HEADS; ++n) query[i][n] = of_token[min(n, heads - 1) * HEAD + i];
    // Of the heads whose scores this warp takes.
    constexpr u32 OF_WARP = (HEADS + WARPS - 1) / WARPS;
    float largest[OF_WARP], sum[OF_WARP], mixed[MINE][HEADS];
#pragma unroll
    for (u32 w = 0; w < OF_WARP; ++w) {
        largest[w] = minus_infinity();
        sum[w] = 0.0f;
    }
#pragma unroll
    for (u32 m = 0; m < MINE; ++m)
#pragma unroll
        for (u32 n = 0; n < HEADS; ++n) mixed[m][n] = 0.0f;
    __syncthreads();
    for (u32 page = begin; page < end; ++page) {
        u8 *part = part_of(cache, pages[first_page[token] + page], layers, layer, kv_heads, kv_head);
        // Slots that the token sees; the others may never have been written.
        u32 from = page == first / PAGE ? first % PAGE : 0, to = page == position / PAGE ? position % PAGE + 1 : PAGE;
        // Two threads have a key, a half of its elements each.
        u32 slot = thread % PAGE, half = thread / PAGE;
        float score[HEADS] = {};
        if (slot >= from && slot < to)
            for (u32 i = half * (HEAD / 2); i < (half + 1) * (HEAD / 2); ++i) {
                float key = key_at(part, i, slot), of[HEADS];
                load_group<HEADS>(of, query[i]);
#pragma unroll
                for (u32 n = 0; n < HEADS; ++n) score[n] = fmaf(of[n], key, score[n]);
            }
#pragma unroll
        for (u32 n = 0; n < HEADS; ++n) halves[half][n][slot] = score[n];
        __syncthreads();
        // A warp a head.
#pragma unroll
        for (u32 w = 0; w < OF_WARP; ++w) {
            u32 n = w * WARPS + warp, other = lane + 32;
            if (n >= HEADS) continue;
            float a = lane >= from && lane < to ? halves[0][n][lane] + halves[1][n][lane] : minus_infinity();
            float b = other >= from && other < to ? halves[0][n][other] + halves[1][n][other] : minus_infinity();
            float most = fmaxf(largest[w], warp_max(fmaxf(a, b)));
            a = expf(a - most);
            b = expf(b - most);
            float before = expf(largest[w] - most);
            sum[w] = fmaf(sum[w], before, warp_sum(a + b));
            largest[w] = most;
            shares[lane][n] = a;
            shares[other][n] = b;
            if (lane == 0) befores[n] = before;
        }
        __syncthreads();
        float before[HEADS];
        load_group<HEADS>(before, befores);
#pragma unroll
        for (u32 m = 0; m < MINE; ++m) {
            u32 i = thread + m * THREADS;
            if (i >= HEAD) continue;
#pragma unroll
            for (u32 n = 0; n < HEADS; ++n) mixed[m][n] *= before[n];
            for (u32 s = from; s < to; ++s) {
                float value = value_at(part, s, i), share[HEADS];
                load_group<HEADS>(share, shares[s]);
#pragma unroll
                for (u32 n = 0; n < HEADS; ++n) mixed[m][n] = fmaf(share[n], value, mixed[m][n]);
            }
        }
        // The next scores go to `halves`, which nobody reads any more; `shares` is written after the next barrier.
    }
#pragma unroll
    for (u32 w = 0; w < OF_WARP; ++w) {
        u32 n = w * WARPS + warp;
        if (lane == 0 && n < heads) {
            result[n * step] = largest[w];
            result[n * step + 1] = sum[w];
        }
    }
#pragma unroll
    for (u32 m = 0; m < MINE; ++m) {
        u32 i = thread + m * THREADS;
#pragma unroll
        for (u32 n = 0; n < HEADS; ++n)
            if (i < HEAD && n < heads) result[n * step + 2 + i] = mixed[m][n];
    }
}

// GROUP heads at once, for steps that fill a device with blocks of them. Four blocks a multiprocessor, here and below: with a
// higher goal of its own the compiler spills.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
attend(const float *queries, u32 stride, const u32 *positions, const u32 *first_page, const u32 *pages, u8 *cache, u32 layers,
       u32 layer, u32 kv_heads, u32 group, u32 window, u32 first_token, float *results) {
    attend_heads<GROUP>(queries, stride, positions, first_page, pages, cache, layers, layer, kv_heads, group, window, first_token,
                        results);
}

// One at a time, for steps that do not.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
attend_one(const float *queries, u32 stride, const u32 *positions, const u32 *first_page, const u32 *pages, u8 *cache, u32 layers,
           u32 layer, u32 kv_heads, u32 group, u32 window, u32 first_token, float *results) {
    attend_heads<1>(queries, stride, positions, first_page, pages, cache, layers, layer, kv_heads, group, window, first_token,
                    results);
}

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
