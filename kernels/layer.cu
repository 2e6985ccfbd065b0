// What lies between the matrices and attention: norms, activations, sums, the choice of experts and of tokens. All in single
// precision, all rows independent of each other: a token's results are the same bits in every batch. Each reads and writes
// its rows once or twice; none multiplies by a weight matrix.

#include "base.cuh"
#include "halves.cuh"

// Root mean square norm of `columns` elements, times `weight`. Row (x, y) of the grid begins at in + y * in_stride +
// x * columns, or at in + rows[y] * in_stride + x * columns where rows are given, and goes to out + y * out_stride +
// x * columns. `in` may be `out`. Grid: heads or 1, rows.
extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm(const float *in, u32 in_stride, const u32 *rows, const float *weight, u32 columns, float epsilon, float *out,
     u32 out_stride) {
    __shared__ float room[WARPS];
    u32 row = rows ? rows[blockIdx.y] : blockIdx.y;
    const float *from = in + (u64)row * in_stride + blockIdx.x * columns;
    float *to = out + (u64)blockIdx.y * out_stride + blockIdx.x * columns;
    float squares = 0.0f;
    for (u32 i = threadIdx.x; i < columns; i += THREADS) squares = fmaf(from[i], from[i], squares);
    float scale = 1.0f / sqrtf(block_sum(squares, room) / (float)columns + epsilon);
    for (u32 i = threadIdx.x; i < columns; i += THREADS) to[i] = from[i] * scale * weight[i];
}

// Adds `bias` to the `columns` elements of each row. Where `chosen` is given, row r has the bias number chosen[r].
// Grid: columns / THREADS rounded up, rows.
extern "C" __global__ void __launch_bounds__(THREADS)
add_bias(float *to, u32 stride, const float *bias, const u32 *chosen, u32 columns) {
    u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= columns) return;
    u32 number = chosen ? chosen[blockIdx.y] : 0;
    to[(u64)blockIdx.y * stride + column] += bias[(u64)number * columns + column];
}

// Adds `count` elements. Grid: count / THREADS rounded up.
extern "C" __global__ void __launch_bounds__(THREADS) add(float *to, const float *from, u32 count) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) to[i] += from[i];
}

// What the activation makes of a gate and `up`. `kind` is 0 for gate * sigmoid(gate) * up, 1 for gelu(gate) * up in the tanh
// form, 2 for the one of gpt-oss: gate at most 7 and up within 7 of zero, gate * sigmoid(1.702 gate) * (up + 1).
static __device__ __forceinline__ float activated(float g, float u, u32 kind) {
    if (kind == 0) return g / (1.0f + expf(-g)) * u;
    if (kind == 1) {
        float inner = 0.79788456080286536f * (g + 0.044715f * g * g * g);
        return 0.5f * g * (1.0f + tanhf(inner)) * u;
    }
    // Comparisons, since fminf would lose what is no number.
    g = g > 7.0f ? 7.0f : g;
    u = u > 7.0f ? 7.0f : u < -7.0f ? -7.0f : u;
    return g / (1.0f + expf(-1.702f * g)) * (u + 1.0f);
}

// gate becomes what the activation makes of it and `up`. Grid: count / THREADS rounded up.
extern "C" __global__ void __launch_bounds__(THREADS) activate(float *gate, const float *up, u32 count, u32 kind) {
    u32 i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) gate[i] = activated(gate[i], up[i], kind);
}

// The larger of two values with its place, the first place of equal ones.
static __device__ __forceinline__ void larger(float &value, u32 &place, float other, u32 other_place) {
    if (other > value || (other == value && other_place < place)) {
        value = other;
        place = other_place;
    }
}

static __device__ __forceinline__ void warp_largest(float &value, u32 &place) {
#pragma unroll
    for (u32 step = 16; step > 0; step /= 2) {
        float other = __shfl_xor_sync(ALL_LANES, value, step);
        u32 other_place = __shfl_xor_sync(ALL_LANES, place, step);
        larger(value, place, other, other_place);
    }
}

static constexpr u32 NOWHERE = 0xffffffffu;

// The `used` largest of each token's logits, the first of equal ones first, and the softmax of those. Where what is left is
// no number, the first that was not taken is, with a share that is none: it shows in the step's logits. What is taken is
// lost from `logits`. A warp a token. Grid: tokens, blocks of 32 threads.
extern "C" __global__ void __launch_bounds__(32)
choose(float *logits, u32 stride, u32 count, u32 used, u32 *chosen, float *shares) {
    float *of_token = logits + (u64)blockIdx.x * stride;
    u32 *places = chosen + (u64)blockIdx.x * used;
    float *to = shares + (u64)blockIdx.x * used;
    u32 lane = threadIdx.x;
    float largest = 0.0f, sum = 0.0f;
    for (u32 n = 0; n < used; ++n) {
        float value = minus_infinity();
        u32 place = NOWHERE;
        for (u32 i = lane; i < count; i += 32)
            if (of_token[i] > value) {
                value = of_token[i];
                place = i;
            }
        warp_largest(value, place);
        if (place == NOWHERE) {
            value = __uint_as_float(0x7fc00000u);
            for (u32 i = 0; i < count && place == NOWHERE; ++i) {
                bool taken = false;
                for (u32 m = 0; m < n; ++m) taken |= places[m] == i;
                if (!taken) place = i;
            }
        }
        if (n == 0) largest = value;
        float share = expf(value - largest);
        sum += share;
        __syncwarp();
        if (lane == 0) {
            of_token[place] = minus_infinity();
            places[n] = place;
            to[n] = share;
        }
        __syncwarp();
    }
    for (u32 n = lane; n < used; n += 32) to[n] /= sum;
}

// Pairs of a token and an expert in the order of their experts, and of their numbers for one expert: slot i has the pair
// slots[i]. They are cut into segments of at most 8 pairs of one expert: its number, the first slot and how many. Segments
// beyond the last one have none. A token has an expert once. Grid: one block; `count` experts, at most MOST_EXPERTS.
static constexpr u32 MOST_EXPERTS = 1024, SEGMENT = 8;

extern "C" __global__ void __launch_bounds__(THREADS)
sort_pairs(const u32 *chosen, u32 pairs, u32 count, u32 *slots, u32 *segments, u32 most_segments) {
    __shared__ u32 first_slot[MOST_EXPERTS], first_segment[MOST_EXPERTS], used;
    for (u32 expert = threadIdx.x; expert < count; expert += THREADS) {
        u32 of_expert = 0;
        for (u32 pair = 0; pair < pairs; ++pair) of_expert += chosen[pair] == expert;
        first_slot[expert] = of_expert;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        u32 slot = 0, segment = 0;
        for (u32 expert = 0; expert < count; ++expert) {
            u32 of_expert = first_slot[expert];
            first_slot[expert] = slot;
            first_segment[expert] = segment;
            slot += of_expert;
            segment += (of_expert + SEGMENT - 1) / SEGMENT;
        }
        used = segment;
    }
    __syncthreads();
    for (u32 expert = threadIdx.x; expert < count; expert += THREADS) {
        u32 slot = first_slot[expert], from = slot;
        for (u32 pair = 0; pair < pairs; ++pair)
            if (chosen[pair] == expert) slots[slot++] = pair;
        u32 *segment = segments + 3 * first_segment[expert];
        for (; from < slot; from += SEGMENT, segment += 3) {
            segment[0] = expert;
            segment[1] = from;
            segment[2] = min(slot - from, SEGMENT);
        }
    }
    for (u32 segment = used + threadIdx.x; segment < most_segments; segment += THREADS) segments[3 * segment + 2] = 0;
}

// Adds to each token what its experts gave, with their bias where there is one, by their shares. Grid: columns / THREADS
// rounded up, tokens.
extern "C" __global__ void __launch_bounds__(THREADS)
mix(float *to, const float *from, const float *shares, const float *bias, const u32 *chosen, u32 used, u32 columns) {
    u32 column = blockIdx.x * THREADS + threadIdx.x;
    if (column >= columns) return;
    float sum = to[(u64)blockIdx.y * columns + column];
    for (u32 n = 0; n < used; ++n) {
        u64 pair = (u64)blockIdx.y * used + n;
        float value = from[pair * columns + column];
        if (bias) value += bias[(u64)chosen[pair] * columns + column];
        sum = fmaf(shares[pair], value, sum);
    }
    to[(u64)blockIdx.y * columns + column] = sum;
}

// Grid: rows, blocks of HALVING threads, as of those below.
extern "C" __global__ void __launch_bounds__(HALVING)
halve(const float *in, u32 in_stride, u32 columns, u16 *halves, u32 stride, u16 *block_sums, float *factors) {
    __shared__ float room[HALVING / 32];
    halve_row(in + (u64)blockIdx.x * in_stride, columns, {halves, stride, block_sums, factors}, blockIdx.x, room);
}

// `rms_norm` of whole rows, and `halve` of what it gives. Where `more` is given, its row is first added to that of `in`, which
// keeps the sum; both have one stride, and no `rows` are given then.
extern "C" __global__ void __launch_bounds__(HALVING)
norm_halve(float *in, u32 in_stride, const u32 *rows, const float *more, const float *weight, u32 columns, float epsilon,
           float *out, u32 out_stride, u16 *halves, u32 stride, u16 *block_sums, float *factors) {
    __shared__ float room[2][HALVING / 32];
    float *from = in + (u64)(rows ? rows[blockIdx.x] : blockIdx.x) * in_stride;
    float *to = out + (u64)blockIdx.x * out_stride, squares = 0.0f;
    if (more) {
        more += (u64)blockIdx.x * in_stride;
        for (u32 i = threadIdx.x; i < columns; i += HALVING) from[i] += more[i];
    }
    for (u32 i = threadIdx.x; i < columns; i += HALVING) squares = fmaf(from[i], from[i], squares);
    float scale = 1.0f / sqrtf(block_sum<HALVING / 32>(squares, room[0]) / (float)columns + epsilon);
    for (u32 i = threadIdx.x; i < columns; i += HALVING) to[i] = from[i] * scale * weight[i];
    __syncthreads();
    halve_row(to, columns, {halves, stride, block_sums, factors}, blockIdx.x, room[1]);
}

// `activate` of rows that lie one behind the other, and `halve` of what it gives.
extern "C" __global__ void __launch_bounds__(HALVING)
activate_halve(float *gate, const float *up, u32 columns, u32 kind, u16 *halves, u32 stride, u16 *block_sums, float *factors) {
    __shared__ float room[HALVING / 32];
    float *to = gate + (u64)blockIdx.x * columns;
    const float *from = up + (u64)blockIdx.x * columns;
    for (u32 k = threadIdx.x * 4; k < columns; k += HALVING * 4) {
        float4 g = *(const float4 *)(to + k), u = *(const float4 *)(from + k);
        *(float4 *)(to + k) = make_float4(activated(g.x, u.x, kind), activated(g.y, u.y, kind), activated(g.z, u.z, kind),
                                          activated(g.w, u.w, kind));
    }
    __syncthreads();
    halve_row(to, columns, {halves, stride, block_sums, factors}, blockIdx.x, room);
}

// The largest of each row's logits and its place, the first of equal ones; infinite when any of them is not finite.
// Grid: rows.
extern "C" __global__ void __launch_bounds__(THREADS)
largest(const float *logits, u32 count, u32 *places, float *values) {
    __shared__ float values_of[WARPS];
    __shared__ u32 places_of[WARPS], odd_of[WARPS];
    const float *row = logits + (u64)blockIdx.x * count;
    float value = minus_infinity();
    u32 place = NOWHERE, odd = 0;
    for (u32 i = threadIdx.x; i < count; i += THREADS) {
        odd |= is_finite(row[i]) ? 0 : 1;
        larger(value, place, row[i], i);
    }
    warp_largest(value, place);
    odd = __any_sync(ALL_LANES, odd);
    if (threadIdx.x % 32 == 0) {
        values_of[threadIdx.x / 32] = value;
        places_of[threadIdx.x / 32] = place;
        odd_of[threadIdx.x / 32] = odd;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (u32 warp = 1; warp < WARPS; ++warp) {
            larger(value, place, values_of[warp], places_of[warp]);
            odd |= odd_of[warp];
        }
        places[blockIdx.x] = place == NOWHERE ? 0 : place;
        values[blockIdx.x] = odd ? -minus_infinity() : value;
    }
}
