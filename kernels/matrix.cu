// The plain family: matrices in the blocks that the file has, times activations in single precision.
//
//   out[token][row] = sum over k of weights[row][k] * in[token][k]
//
// One file for a type: KIND names it (blocks.cuh). A warp has ROWS rows and up to TOKENS tokens; its lanes take eight
// neighbouring weights each, so that a weight is read once for all tokens of the warp and an activation once for all its
// rows. The order of a sum depends on the number of columns alone: a token's results are the same bits in every batch and in
// every kernel here. Nothing is rounded but sums, to single precision, so this is what faster families are held against.
// Weights read: rows * row_bytes for TOKENS tokens; 2 * rows * columns FLOP a token.

#include "base.cuh"
#include "blocks.cuh"

// Rows and tokens are offsets from the first ones: half the registers of pointers, without which the widest kernel spills.
template <u32 ROWS, u32 TOKENS>
static __device__ __forceinline__ void multiply(const u8 *rows, const u32 row_offsets[ROWS], u32 columns, const float *in,
                                                const u32 token_offsets[TOKENS], float sums[ROWS][TOKENS]) {
#pragma unroll
    for (u32 r = 0; r < ROWS; ++r)
#pragma unroll
        for (u32 t = 0; t < TOKENS; ++t) sums[r][t] = 0.0f;
    for (u32 k = threadIdx.x % 32 * 8; k < columns; k += 256) {
        float w[ROWS][8];
#pragma unroll
        for (u32 r = 0; r < ROWS; ++r) eight_weights(rows + row_offsets[r], k, w[r]);
#pragma unroll
        for (u32 t = 0; t < TOKENS; ++t) {
            const float4 *x = (const float4 *)(in + (token_offsets[t] + k));
            float4 a = x[0], b = x[1];
#pragma unroll
            for (u32 r = 0; r < ROWS; ++r) {
                float sum = sums[r][t];
                sum = fmaf(w[r][0], a.x, sum);
                sum = fmaf(w[r][1], a.y, sum);
                sum = fmaf(w[r][2], a.z, sum);
                sum = fmaf(w[r][3], a.w, sum);
                sum = fmaf(w[r][4], b.x, sum);
                sum = fmaf(w[r][5], b.y, sum);
                sum = fmaf(w[r][6], b.z, sum);
                sums[r][t] = fmaf(w[r][7], b.w, sum);
            }
        }
    }
#pragma unroll
    for (u32 r = 0; r < ROWS; ++r)
#pragma unroll
        for (u32 t = 0; t < TOKENS; ++t) sums[r][t] = warp_sum(sums[r][t]);
}

// Grid: rows / (WARPS * ROWS), tokens / TOKENS, both rounded up. Beyond the last row and token the last one is computed
// again, and not written.
template <u32 ROWS, u32 TOKENS>
static __device__ __forceinline__ void multiply_all(const u8 *weights, u32 rows, u32 columns, const float *in,
                                                    u32 in_stride, float *out, u32 out_stride, u32 tokens) {
    u32 row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS, token = blockIdx.y * TOKENS;
    if (row >= rows) return;
    const u32 stride = row_bytes(columns);
    u32 row_offsets[ROWS], token_offsets[TOKENS];
#pragma unroll
    for (u32 r = 0; r < ROWS; ++r) row_offsets[r] = (min(row + r, rows - 1) - row) * stride;
#pragma unroll
    for (u32 t = 0; t < TOKENS; ++t) token_offsets[t] = (min(token + t, tokens - 1) - token) * in_stride;
    float sums[ROWS][TOKENS];
    multiply<ROWS, TOKENS>(weights + (u64)row * stride, row_offsets, columns, in + (u64)token * in_stride, token_offsets, sums);
    if (threadIdx.x % 32 != 0) return;
#pragma unroll
    for (u32 t = 0; t < TOKENS; ++t)
#pragma unroll
        for (u32 r = 0; r < ROWS; ++r)
            if (token + t < tokens && row + r < rows) out[(u64)(token + t) * out_stride + row + r] = sums[r][t];
}

// For one token, for a few, and for a prompt. The second bound is the blocks at once: left alone the compiler aims at more of
// them than the registers allow without spilling.
extern "C" __global__ void __launch_bounds__(THREADS)
multiply_one(const u8 *weights, u32 rows, u32 columns, const float *in, u32 in_stride, float *out, u32 out_stride,
             u32 tokens) {
    multiply_all<1, 1>(weights, rows, columns, in, in_stride, out, out_stride, tokens);
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
multiply_few(const u8 *weights, u32 rows, u32 columns, const float *in, u32 in_stride, float *out, u32 out_stride,
             u32 tokens) {
    multiply_all<1, 8>(weights, rows, columns, in, in_stride, out, out_stride, tokens);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
multiply_many(const u8 *weights, u32 rows, u32 columns, const float *in, u32 in_stride, float *out, u32 out_stride,
              u32 tokens) {
    multiply_all<4, 8>(weights, rows, columns, in, in_stride, out, out_stride, tokens);
}

// One of `experts` matrices for each pair of a token and an expert that it chose. The input of pair p is row
// p / share of `in`: `share` is the number of experts a token goes through where its pairs have one input, else 1.
// Grid: rows / WARPS rounded up, pairs.
extern "C" __global__ void __launch_bounds__(THREADS)
multiply_experts(const u8 *weights, u32 rows, u32 columns, const u32 *chosen, const float *in, u32 in_stride, u32 share,
                 float *out, u32 out_stride) {
    u32 row = blockIdx.x * WARPS + threadIdx.x / 32, pair = blockIdx.y;
    if (row >= rows) return;
    const u32 first[1] = {0};
    float sum[1][1];
    multiply<1, 1>(weights + ((u64)chosen[pair] * rows + row) * row_bytes(columns), first, columns,
                   in + (u64)(pair / share) * in_stride, first, sum);
    if (threadIdx.x % 32 == 0) out[(u64)pair * out_stride + row] = sum[0][0];
}

// Rows of the embedding, times `scale`. Grid: tokens.
extern "C" __global__ void __launch_bounds__(THREADS)
embed(const u8 *weights, u32 columns, const u32 *tokens, float scale, float *out) {
    const u8 *row = weights + tokens[blockIdx.x] * row_bytes(columns);
    float4 *to = (float4 *)(out + (u64)blockIdx.x * columns);
    for (u32 k = threadIdx.x * 8; k < columns; k += THREADS * 8) {
        float w[8];
        eight_weights(row, k, w);
        to[k / 4] = make_float4(w[0] * scale, w[1] * scale, w[2] * scale, w[3] * scale);
        to[k / 4 + 1] = make_float4(w[4] * scale, w[5] * scale, w[6] * scale, w[7] * scale);
    }
}
