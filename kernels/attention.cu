// Keys and values in pages of 64 positions, and attention over them. HEAD is the number of elements of a head, a multiple
// of 16; EIGHT_BITS is 1 for a cache of q8_0, where it is one of 32. The cache lies as on the CPU (crates/engine/src/fused/
// kv.rs): the part of a page for a layer and a KV head is its keys transposed, [HEAD][64], its values, [64][HEAD], and in
// q8_0 the f16 scales of the keys' blocks of 32, [HEAD / 32][64], and of the values'. Sums are in single precision, page
// after page and part after part from the first that a token sees: the same bits in every batch and every cut of a prompt.

#include "base.cuh"

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

// Puts each token's keys and values, which follow one another in its row after the queries, into its slot. Token t has
// position positions[t], in page pages[first_page[t] + position / 64]. Grid: kv_heads, tokens.
extern "C" __global__ void __launch_bounds__(THREADS)
append(const float *keys, const float *values, u32 stride, const u32 *positions, const u32 *first_page, const u32 *pages,
       u8 *cache, u32 layers, u32 layer, u32 kv_heads) {
    u32 head = blockIdx.x, token = blockIdx.y, position = positions[token], slot = position % PAGE;
    const float *key = keys + (u64)token * stride + head * HEAD;
    const float *value = values + (u64)token * stride + head * HEAD;
    u8 *part = part_of(cache, pages[first_page[token] + position / PAGE], layers, layer, kv_heads, head);
#if EIGHT_BITS
    i8 *to_keys = (i8 *)part, *to_values = to_keys + PAGE * HEAD;
    u32 lane = threadIdx.x % 32;
    for (u32 block = threadIdx.x / 32; block < BLOCKS; block += WARPS) {
        u32 i = block * 32 + lane;
        i8 quant;
        float scale;
        eight_bits(key[i], quant, scale);
        to_keys[i * PAGE + slot] = quant;
        if (lane == 0) scales_of_keys(part)[block * PAGE + slot] = to_f16(scale);
        eight_bits(value[i], quant, scale);
        to_values[slot * HEAD + i] = quant;
        if (lane == 0) scales_of_values(part)[block * PAGE + slot] = to_f16(scale);
    }
#else
    u16 *to_keys = (u16 *)part, *to_values = to_keys + PAGE * HEAD;
    for (u32 i = threadIdx.x; i < HEAD; i += THREADS) {
        to_keys[i * PAGE + slot] = to_f16(key[i]);
        to_values[slot * HEAD + i] = to_f16(value[i]);
    }
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

// Attention of one query head of one token to one part of the positions that it sees: with a `window` the last so many, its
// own among them, else all. Queries are scaled. Softmax as a running largest score and sum (Milakov and Gimelshein, 2018).
// Grid: heads, tokens from number `first_token` on, parts. Results: [tokens][heads][parts][STATE].
extern "C" __global__ void __launch_bounds__(THREADS)
attend(const float *queries, u32 stride, const u32 *positions, const u32 *first_page, const u32 *pages, u8 *cache,
       u32 layers, u32 layer, u32 kv_heads, u32 group, u32 window, u32 first_token, float *results) {
    __shared__ float query[HEAD], halves[2][PAGE], shares[PAGE];
    u32 head = blockIdx.x, token = first_token + blockIdx.y, thread = threadIdx.x, lane = thread % 32;
    u32 position = positions[token];
    u32 first = window && position >= window ? position + 1 - window : 0;
    u32 begin = max(first / PAGE, blockIdx.z * PART), end = min(position / PAGE + 1, blockIdx.z * PART + PART);
    float *result = results + (((u64)blockIdx.y * gridDim.x + head) * gridDim.z + blockIdx.z) * STATE;
    if (begin >= end) {
        // The token sees nothing of this part: a sum of zero says so.
        if (thread == 0) result[1] = 0.0f;
        return;
    }
    for (u32 i = thread; i < HEAD; i += THREADS) query[i] = queries[(u64)token * stride + head * HEAD + i];
    float largest = minus_infinity(), sum = 0.0f;
    float mixed[MINE];
#pragma unroll
    for (u32 m = 0; m < MINE; ++m) mixed[m] = 0.0f;
    __syncthreads();
    for (u32 page = begin; page < end; ++page) {
        u8 *part = part_of(cache, pages[first_page[token] + page], layers, layer, kv_heads, head / group);
        // Slots that the token sees; the others may never have been written.
        u32 from = page == first / PAGE ? first % PAGE : 0, to = page == position / PAGE ? position % PAGE + 1 : PAGE;
        // Two threads have a key, a half of its elements each.
        u32 slot = thread % PAGE, half = thread / PAGE;
        float score = 0.0f;
        if (slot >= from && slot < to)
            for (u32 i = half * (HEAD / 2); i < (half + 1) * (HEAD / 2); ++i)
                score = fmaf(query[i], key_at(part, i, slot), score);
        halves[half][slot] = score;
        __syncthreads();
        // Every warp alike.
        u32 other = lane + 32;
        float a = lane >= from && lane < to ? halves[0][lane] + halves[1][lane] : minus_infinity();
        float b = other >= from && other < to ? halves[0][other] + halves[1][other] : minus_infinity();
        float most = fmaxf(largest, warp_max(fmaxf(a, b)));
        a = expf(a - most);
        b = expf(b - most);
        float before = expf(largest - most);
        sum = fmaf(sum, before, warp_sum(a + b));
        largest = most;
        if (thread < 32) {
            shares[lane] = a;
            shares[other] = b;
        }
        __syncthreads();
#pragma unroll
        for (u32 m = 0; m < MINE; ++m) {
            u32 i = thread + m * THREADS;
            if (i >= HEAD) continue;
            float mine = mixed[m] * before;
            for (u32 s = from; s < to; ++s) mine = fmaf(shares[s], value_at(part, s, i), mine);
            mixed[m] = mine;
        }
        // The next scores go to `halves`, which nobody reads any more; `shares` is written after the next barrier.
    }
    if (thread == 0) {
        result[0] = largest;
        result[1] = sum;
    }
#pragma unroll
    for (u32 m = 0; m < MINE; ++m) {
        u32 i = thread + m * THREADS;
        if (i < HEAD) result[2 + i] = mixed[m];
    }
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
        float of_part = result[1];
        if (of_part == 0.0f) continue;
        float most = fmaxf(largest, result[0]);
        float before = expf(largest - most), share = expf(result[0] - most);
        sum = fmaf(of_part, share, sum * before);
        largest = most;
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
