// The tensor-core family: matrices in fragments (fragments.cuh) times activations in f16, summed in f32.
//
//   out[token][row] = sum over k of weights[row][k] * in[token][k]
//
// One file for a type, as KIND names it. Activations are what `halve` (layer.cu) makes of them: each token's row times a
// power of two, which `factors` undoes, and the sums of its blocks of 32.
//
// A tile of 16 rows has eight slices: slice s is units s, s + 8, s + 16 and so on. A warp sums one, or several in turn, and the sums
// are added in the order of the slices. So the order of every sum depends on the number of columns alone. A column of an `mma`
// does not depend on its neighbours, so a token's results are the same bits in every batch and in every kernel here.
// Weights read: UNIT_BYTES / 16 / UNIT_COLUMNS a weight, for 8 * GROUPS tokens; 2 * rows * columns FLOP a token.

#include "base.cuh"
#include "fragments.cuh"

// Slices of a tile, as in `launch/tensor.rs` of the engine.
static constexpr u32 SLICES = 8;
// Rows of a tile in shared memory, padded so that the lanes of a warp store to different banks.
static constexpr u32 PADDED = 20;

// The input of a launch, or of one token of it. Strides are multiples of 256 columns.
struct Activations {
    const u16 *halves;
    u32 stride;
    // For each 256 columns eight sums rounded to f16, and what is left of each, in f16.
    const u32 *block_sums;
    const float *factors;

    __device__ __forceinline__ Activations from(u32 token) const {
        return {halves + (u64)token * stride, stride, block_sums + (u64)token * (stride / 32), factors + token};
    }
};

// Columns of activations that are staged in shared memory at once.
static constexpr u32 CHUNK = 64;

// A lane's activations in device memory.
template <u32 GROUPS> struct Direct {
    const u16 *halves;
    const u32 *offsets;
    // With many groups there are no registers for a pointer to each.
    const u16 *x[GROUPS];

    // From unit `slice` on, the first of that slice.
    __device__ __forceinline__ Direct(const Activations &in, const u32 offsets[GROUPS], u32 slice)
        : halves(in.halves + slice * UNIT_COLUMNS + (NARROW ? 4 : 8) * (threadIdx.x % 4)), offsets(offsets) {
#pragma unroll
        for (u32 group = 0; group < GROUPS; ++group) x[group] = halves + offsets[group];
    }

    // Called before the CHUNK columns of a unit from `begin` on are read.
    __device__ __forceinline__ void chunk(u32 begin) {}

    __device__ __forceinline__ const u16 *at(u32 group, u32 begin, u32 column) const {
        return (GROUPS < 8 ? x[group] : halves + offsets[group]) + begin + column;
    }

    __device__ __forceinline__ void next_unit() {
        halves += SLICES * UNIT_COLUMNS;
#pragma unroll
        for (u32 group = 0; group < GROUPS; ++group) x[group] += SLICES * UNIT_COLUMNS;
    }
};

// Adds the products of unit `number` with tokens, whose activations `x` has and whose block sums begin at `offsets` / 32.
template <u32 GROUPS, typename Source>
static __device__ __forceinline__ void multiply_unit(const Unit &unit, u32 number, Source &x, const Activations &in,
                                                     const u32 offsets[GROUPS], float sums[GROUPS][4]) {
    u32 t = threadIdx.x % 4;
#if KIND == Q4_K || KIND == Q5_K
    const u32 *block_sums = in.block_sums + number * UNIT_COLUMNS / 256 * 8 + t;
    float parts[GROUPS][4] = {};
    // Eight groups leave registers for the loads of two runs and no more: loops keep the others from coming early.
#pragma unroll (GROUPS < 8 ? 2 : 1)
    for (u32 half = 0; half < 2; ++half) {
        const Half of = half_of(unit, half);
#pragma unroll (GROUPS < 8 ? 2 : 1)
        for (u32 first = 0; first < 4; first += 2) {
            u32 begin = 128 * half + 32 * first;
            x.chunk(begin);
#pragma unroll
            for (u32 run = first; run < first + 2; ++run) {
                u32 a[2][4];
                fragments(of, run, a);
#pragma unroll
                for (u32 group = 0; group < GROUPS; ++group) {
                    uint4 b = *(const uint4 *)x.at(group, begin, 32 * (run - first));
                    multiply_add(parts[group], a[0], b.x, b.y);
                    multiply_add(parts[group], a[1], b.z, b.w);
                }
            }
        }
    }
    u32 a[4];
    minima(unit, t, a);
    float scale[2] = {lower(unit.low.w), lower(unit.high.w)};
    float minimum[2] = {upper(unit.low.w), upper(unit.high.w)};
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) {
        const u32 *b = block_sums + offsets[group] / 32;
        float below[4] = {};
        multiply_add(below, a, b[0], b[4]);
#pragma unroll
        for (u32 i = 0; i < 4; ++i)
            sums[group][i] += fmaf(scale[i / 2], parts[group][i], -minimum[i / 2] * below[i]);
    }
#elif KIND == Q6_K
#pragma unroll (GROUPS < 8 ? 2 : 1)
    for (u32 first = 0; first < 4; first += 2) {
        x.chunk(32 * first);
#pragma unroll
        for (u32 run = first; run < first + 2; ++run) {
            u32 a[2][4];
            float scale[2][2];
            fragments(unit, run, a);
            scales(unit, run, scale);
#pragma unroll
            for (u32 j = 0; j < 2; ++j)
#pragma unroll
                for (u32 group = 0; group < GROUPS; ++group) {
                    uint2 b = *(const uint2 *)x.at(group, 32 * first, 32 * (run - first) + 16 * j);
                    float part[4] = {};
                    multiply_add(part, a[j], b.x, b.y);
#pragma unroll
                    for (u32 i = 0; i < 4; ++i) sums[group][i] = fmaf(scale[j][i / 2], part[i], sums[group][i]);
                }
        }
    }
#elif KIND == F16 || KIND == BF16
    x.chunk(0);
#pragma unroll
    for (u32 run = 0; run < RUNS; ++run) {
        const uint4 &first = unit.fragments[2 * run], &second = unit.fragments[2 * run + 1];
        const u32 a[2][4] = {{first.x, first.y, first.z, first.w}, {second.x, second.y, second.z, second.w}};
#pragma unroll
        for (u32 group = 0; group < GROUPS; ++group) {
            uint4 b = *(const uint4 *)x.at(group, 0, 32 * run);
#if KIND == F16
            multiply_add(sums[group], a[0], b.x, b.y);
            multiply_add(sums[group], a[1], b.z, b.w);
#else
            u32 most[4], rest[4];
            two_bf16(b.x, most[0], rest[0]);
            two_bf16(b.y, most[1], rest[1]);
            two_bf16(b.z, most[2], rest[2]);
            two_bf16(b.w, most[3], rest[3]);
#pragma unroll
            for (u32 j = 0; j < 2; ++j) {
                multiply_add_bf16(sums[group], a[j], rest[2 * j], rest[2 * j + 1]);
                multiply_add_bf16(sums[group], a[j], most[2 * j], most[2 * j + 1]);
            }
#endif
        }
    }
#else
    x.chunk(0);
#pragma unroll
    for (u32 run = 0; run < RUNS; ++run) {
        u32 a[2][4];
        float scale[2];
        fragments(unit, run, a);
        scales(unit, run, scale);
#pragma unroll
        for (u32 group = 0; group < GROUPS; ++group) {
            uint4 b = *(const uint4 *)x.at(group, 0, 32 * run);
            float part[4] = {};
            multiply_add(part, a[0], b.x, b.y);
            multiply_add(part, a[1], b.z, b.w);
#pragma unroll
            for (u32 i = 0; i < 4; ++i) sums[group][i] = fmaf(scale[i / 2], part[i], sums[group][i]);
        }
    }
#if KIND == Q4_1 || KIND == Q5_1
    // The unit's two blocks are depths 2 t and 2 t + 1 of the eight blocks whose sums lie together, for one t.
    const u32 *block_sums = in.block_sums + number / 4 * 8 + t;
    bool here = t == number % 4;
    u32 low = here ? unit.minima.x : 0, high = here ? unit.minima.y : 0;
    const u32 a[4] = {low, high, low, high};
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) {
        const u32 *b = block_sums + offsets[group] / 32;
        multiply_add(sums[group], a, b[0], b[4]);
    }
#endif
#endif
}

// Which rows of the input and of the output a block's tokens are: those from the first on, or `share` slots' input and each
// slot's output.
struct Tokens {
    const u32 *slots;
    u32 share;

    __device__ __forceinline__ u32 input(u32 token) const { return slots ? slots[token] / share : token; }
    __device__ __forceinline__ u32 output(u32 token) const { return slots ? slots[token] : token; }
};

// Adds the products of a slice of a tile, of which the first unit is `from`: units slice, slice + SLICES and so on.
template <u32 GROUPS>
static __device__ __forceinline__ void multiply_slice(const u8 *from, u32 units, u32 slice, const Activations &in,
                                                      const u32 offsets[GROUPS], float sums[GROUPS][4]) {
    u32 lane = threadIdx.x % 32;
    Direct<GROUPS> x(in, offsets, slice);
    from += (u64)slice * UNIT_BYTES;
    // The next unit comes while one is multiplied. Two in turn, so that none is moved from register to register. (Where there
    // are no registers for two, both come when they are needed.)
    constexpr bool AHEAD = KIND != Q5_K || GROUPS < 8;
    Unit even, odd;
    if (AHEAD && slice < units) load(even, from, lane);
    for (u32 number = slice; number < units; number += 2 * SLICES) {
        u32 second = number + SLICES;
        if (!AHEAD) load(even, from, lane);
        if (AHEAD && second < units) load(odd, from + SLICES * UNIT_BYTES, lane);
        from += 2 * SLICES * UNIT_BYTES;
        multiply_unit<GROUPS>(even, number, x, in, offsets, sums);
        if (second >= units) break;
        x.next_unit();
        if (!AHEAD) load(odd, from - SLICES * UNIT_BYTES, lane);
        if (AHEAD && second + SLICES < units) load(even, from, lane);
        multiply_unit<GROUPS>(odd, second, x, in, offsets, sums);
        x.next_unit();
    }
}

// A block's tiles, from number `first` of the matrix on, by `warps_of_tile` warps for each: SLICES, or a half or a quarter of it.
// Then each warp takes two or four slices in turn, and `out` holds what was summed before. `in`, `out` and `tokens` are those from
// the block's first token on, as `which` says. Beyond the last token the last one is computed again, and not written.
template <u32 GROUPS, u32 ALL_WARPS>
static __device__ __forceinline__ void multiply_tiles(const u8 *weights, u32 rows, u32 units, u32 first, u32 warps_of_tile,
                                                      const Activations &in, float *out, u32 out_stride, u32 tokens,
                                                      const Tokens &which = {nullptr, 1}) {
    __shared__ float room[ALL_WARPS][8 * GROUPS][PADDED];
    u32 lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    // The same in all lanes, which the compiler does not see otherwise.
    u32 warp = __shfl_sync(ALL_LANES, threadIdx.x / 32, 0);
    u32 tile = first + warp / warps_of_tile;
    for (u32 begin = 0; begin < SLICES; begin += warps_of_tile) {
        if (tile * 16 < rows) {
            u32 offsets[GROUPS];
#pragma unroll
            for (u32 group = 0; group < GROUPS; ++group)
                offsets[group] = which.input(min(8 * group + g, tokens - 1)) * in.stride;
            float sums[GROUPS][4] = {};
            multiply_slice<GROUPS>(weights + (u64)tile * units * UNIT_BYTES, units, begin + warp % warps_of_tile, in, offsets,
                                   sums);
#pragma unroll
            for (u32 group = 0; group < GROUPS; ++group)
#pragma unroll
                for (u32 i = 0; i < 4; ++i) room[warp][8 * group + 2 * t + i % 2][g + i / 2 * 8] = sums[group][i];
        }
        __syncthreads();
        bool last = begin + warps_of_tile >= SLICES;
        for (u32 i = threadIdx.x; i < blockDim.x / (32 * warps_of_tile) * GROUPS * 128; i += blockDim.x) {
            u32 of_block = i / (GROUPS * 128), token = i / 16 % (8 * GROUPS), row = (first + of_block) * 16 + i % 16;
            if (row >= rows || token >= tokens) continue;
            float *to = out + (u64)which.output(token) * out_stride + row;
            float sum = begin ? *to : 0.0f;
            for (u32 s = 0; s < warps_of_tile; ++s) sum += room[of_block * warps_of_tile + s][token][i % 16];
            *to = last ? sum * WHOLE * in.factors[which.input(token)] : sum;
        }
        if (!last) __syncthreads();
    }
}

// A matrix and where its results go.
struct Product {
    const u8 *weights;
    u32 rows;
    float *out;
};

// Of up to three matrices the one that block number `block` of all of them works on, where each has blocks of `tiles` tiles; and
// its number there. Matrices with the same activations are multiplied at once, since a small one does not fill a device.
static __device__ __forceinline__ Product product_of(const Product &first, const Product &second, const Product &third, u32 tiles,
                                                     u32 &block) {
    u32 blocks = (first.rows + 16 * tiles - 1) / (16 * tiles);
    if (block < blocks) return first;
    block -= blocks;
    blocks = (second.rows + 16 * tiles - 1) / (16 * tiles);
    if (block < blocks) return second;
    block -= blocks;
    return third;
}

// Grid: for each of up to three matrices tiles / (tiles of a block), and tokens / (8 * GROUPS), all rounded up.
template <u32 GROUPS, u32 ALL_WARPS>
static __device__ __forceinline__ void multiply_all(const Product &first, const Product &second, const Product &third, u32 units,
                                                    u32 warps_of_tile, const Activations &in, u32 out_stride, u32 tokens) {
    u32 tiles = blockDim.x / (32 * warps_of_tile), block = blockIdx.x;
    const Product of = product_of(first, second, third, tiles, block);
    u32 token = blockIdx.y * 8 * GROUPS;
    multiply_tiles<GROUPS, ALL_WARPS>(of.weights, of.rows, units, block * tiles, warps_of_tile, in.from(token),
                                      of.out + (u64)token * out_stride, out_stride, tokens - token);
}

// For up to 8 tokens, with one tile or two in a block; for up to 32 and up to 64, with SLICES / warps_of_tile: activations come
// from the L2 once for a block, as long as its warps stay near each other.
extern "C" __global__ void __launch_bounds__(512, 1)
multiply_8(const u8 *weights_0, u32 rows_0, float *out_0, const u8 *weights_1, u32 rows_1, float *out_1, const u8 *weights_2,
           u32 rows_2, float *out_2, u32 units, const u16 *halves, u32 stride, const u32 *block_sums, const float *factors,
           u32 out_stride, u32 tokens) {
    multiply_all<1, 2 * SLICES>({weights_0, rows_0, out_0}, {weights_1, rows_1, out_1}, {weights_2, rows_2, out_2}, units, SLICES,
                       {halves, stride, block_sums, factors}, out_stride, tokens);
}

extern "C" __global__ void __launch_bounds__(256, 1)
multiply_32(const u8 *weights_0, u32 rows_0, float *out_0, const u8 *weights_1, u32 rows_1, float *out_1, const u8 *weights_2,
            u32 rows_2, float *out_2, u32 units, const u16 *halves, u32 stride, const u32 *block_sums, const float *factors,
            u32 out_stride, u32 tokens, u32 warps_of_tile) {
    multiply_all<4, SLICES>({weights_0, rows_0, out_0}, {weights_1, rows_1, out_1}, {weights_2, rows_2, out_2}, units, warps_of_tile,
                       {halves, stride, block_sums, factors}, out_stride, tokens);
}

extern "C" __global__ void __launch_bounds__(256, 1)
multiply_64(const u8 *weights_0, u32 rows_0, float *out_0, const u8 *weights_1, u32 rows_1, float *out_1, const u8 *weights_2,
            u32 rows_2, float *out_2, u32 units, const u16 *halves, u32 stride, const u32 *block_sums, const float *factors,
            u32 out_stride, u32 tokens, u32 warps_of_tile) {
    multiply_all<8, SLICES>({weights_0, rows_0, out_0}, {weights_1, rows_1, out_1}, {weights_2, rows_2, out_2}, units, warps_of_tile,
                       {halves, stride, block_sums, factors}, out_stride, tokens);
}

// Activations of 64 tokens, staged in shared memory for all warps of a block: STAGES chunks in a ring, of which one is multiplied
// while the others arrive. Chunks come in the order in which the block multiplies them, slice after slice.
struct Staged {
    static constexpr u32 STAGES = 3, TOKENS = 64;
    // Halves from one token to the next: what the lanes of a load read at once lies in different banks, half a row of a token
    // with 16 bytes a lane, a quarter with 8.
    static constexpr u32 STRIDE = CHUNK + (NARROW ? 16 : 32);
    // Copies of 16 bytes that a thread makes of a chunk.
    static constexpr u32 COPIES = TOKENS * CHUNK / 8 / (32 * SLICES);

    u16 *room;
    // What this thread copies: from where in the first chunk's row, and to where in a stage.
    const u16 *from[COPIES];
    u32 to[COPIES];
    // The next chunk to be copied, and the stages of it and of the one that is multiplied.
    u32 units, slice, number, part, filled, used;
    // Where this lane's activations begin in a stage.
    u32 lane;

    __device__ __forceinline__ Staged(u16 *room, const Activations &in, u32 tokens, u32 units)
        : room(room), units(units), slice(0), number(0), part(0), filled(0), used(STAGES - 1) {
#pragma unroll
        for (u32 i = 0; i < COPIES; ++i) {
            u32 copy = threadIdx.x + i * 32 * SLICES, token = copy / (CHUNK / 8), column = copy % (CHUNK / 8) * 8;
            from[i] = in.halves + (u64)min(token, tokens - 1) * in.stride + column;
            to[i] = token * STRIDE + column;
        }
        u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
        lane = g * STRIDE + (NARROW ? 4 : 8) * t;
#pragma unroll
        for (u32 i = 0; i < STAGES - 1; ++i) copy();
    }

    // Starts the next chunk's copies, if there is one.
    __device__ __forceinline__ void copy() {
        if (slice < SLICES && slice < units) {
            u32 first = number * UNIT_COLUMNS + part * CHUNK;
#pragma unroll
            for (u32 i = 0; i < COPIES; ++i) copy_ahead(room + filled * TOKENS * STRIDE + to[i], from[i] + first);
            if (++part == UNIT_COLUMNS / CHUNK) {
                part = 0;
                number += SLICES;
                if (number >= units) number = ++slice;
            }
            filled = filled + 1 == STAGES ? 0 : filled + 1;
        }
        copies_end();
    }

    // Waits until the next chunk is there for all warps. None of them reads the one before it any more, so its stage is filled again.
    __device__ __forceinline__ void chunk(u32) {
        await_copies<STAGES - 2>();
        __syncthreads();
        copy();
        used = used + 1 == STAGES ? 0 : used + 1;
    }

    __device__ __forceinline__ const u16 *at(u32 group, u32, u32 column) const {
        return room + used * TOKENS * STRIDE + lane + 8 * group * STRIDE + column;
    }
};

// For up to 64 tokens. A block has SLICES tiles, one for each warp, which sums the slices in turn: activations are read once for 128
// rows, and arrive while others are multiplied. Grid: groups of 64 tokens, so that blocks that read the same weights run at the
// same time; and for each of up to three matrices tiles / SLICES, all rounded up.
extern "C" __global__ void __launch_bounds__(256, 1)
multiply_staged(const u8 *weights_0, u32 rows_0, float *out_0, const u8 *weights_1, u32 rows_1, float *out_1, const u8 *weights_2,
                u32 rows_2, float *out_2, u32 units, const u16 *halves, u32 stride, const u32 *block_sums, const float *factors,
                u32 out_stride, u32 all_tokens) {
    constexpr u32 GROUPS = Staged::TOKENS / 8;
    __shared__ __align__(16) u16 room[Staged::STAGES * Staged::TOKENS * Staged::STRIDE];
    u32 block = blockIdx.y, token = blockIdx.x * Staged::TOKENS, tokens = all_tokens - token;
    const Product of = product_of({weights_0, rows_0, out_0}, {weights_1, rows_1, out_1}, {weights_2, rows_2, out_2}, SLICES, block);
    const Activations in = Activations{halves, stride, block_sums, factors}.from(token);
    u32 lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    // The same in all lanes, which the compiler does not see otherwise.
    u32 tile = block * SLICES + __shfl_sync(ALL_LANES, threadIdx.x / 32, 0);
    // All warps copy and wait; those beyond the last tile compute it again.
    const u8 *weights = of.weights + (u64)min(tile, (of.rows - 1) / 16) * units * UNIT_BYTES;
    u32 offsets[GROUPS];
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group) offsets[group] = min(8 * group + g, tokens - 1) * stride;
    Staged x(room, in, tokens, units);
    float totals[GROUPS][4] = {};
    Unit unit, next;
    load(next, weights, lane);
    for (u32 slice = 0; slice < SLICES && slice < units; ++slice) {
        float sums[GROUPS][4] = {};
        for (u32 number = slice; number < units; number += SLICES) {
            unit = next;
            // The next unit comes while one is multiplied: the slice's, or the first of the next slice.
            u32 coming = number + SLICES < units ? number + SLICES : slice + 1 < SLICES ? slice + 1 : units;
            if (coming < units) load(next, weights + (u64)coming * UNIT_BYTES, lane);
            multiply_unit<GROUPS>(unit, number, x, in, offsets, sums);
        }
#pragma unroll
        for (u32 group = 0; group < GROUPS; ++group)
#pragma unroll
            for (u32 i = 0; i < 4; ++i) totals[group][i] += sums[group][i];
    }
#pragma unroll
    for (u32 group = 0; group < GROUPS; ++group)
#pragma unroll
        for (u32 i = 0; i < 4; ++i) {
            u32 of_block = 8 * group + 2 * t + i % 2, row = tile * 16 + g + i / 2 * 8;
            if (row < of.rows && of_block < tokens)
                of.out[(u64)(token + of_block) * out_stride + row] = totals[group][i] * WHOLE * in.factors[of_block];
        }
}

// One of several matrices for each pair of a token and an expert that it chose. The input of pair p is row p / share of `in`:
// `share` is the number of experts a token goes through where its pairs have one input, else 1. Grid: tiles, pairs.
extern "C" __global__ void __launch_bounds__(256, 2)
multiply_experts(const u8 *weights, u32 rows, u32 units, const u32 *chosen, const u16 *halves, u32 stride,
                 const u32 *block_sums, const float *factors, u32 share, float *out, u32 out_stride) {
    u32 pair = blockIdx.y;
    const Activations in = {halves, stride, block_sums, factors};
    u64 matrix = (u64)((rows + 15) / 16) * units * UNIT_BYTES;
    multiply_tiles<1, SLICES>(weights + chosen[pair] * matrix, rows, units, blockIdx.x, SLICES, in.from(pair / share),
                         out + (u64)pair * out_stride, out_stride, 1);
}

// The same for segments of up to 8 pairs of one expert, as `sort_pairs` (layer.cu) makes them: an expert's weights are read
// once for each. Grid: tiles, segments.
extern "C" __global__ void __launch_bounds__(256, 2)
multiply_segments(const u8 *weights, u32 rows, u32 units, const u32 *slots, const u32 *segments, const u16 *halves, u32 stride,
                  const u32 *block_sums, const float *factors, u32 share, float *out, u32 out_stride) {
    const u32 *segment = segments + 3 * blockIdx.y;
    u32 pairs = segment[2];
    if (pairs == 0) return;
    u64 matrix = (u64)((rows + 15) / 16) * units * UNIT_BYTES;
    multiply_tiles<1, SLICES>(weights + segment[0] * matrix, rows, units, blockIdx.x, SLICES, {halves, stride, block_sums, factors}, out,
                         out_stride, pairs, {slots + segment[1], share});
}
