// Rows of activations for the tensor cores: each times the power of two that brings its largest size to between 512 and
// 1024, in f16; the factor that undoes it; and the sums of its blocks of 32 as they were rounded. A block's sum stays below
// 32,768, so none of them is too large for f16, whatever the row is. A number that is none stays none. Beyond `columns` there
// are zeros up to `stride`, a multiple of 256. For each 256 columns there are eight sums in f16 and eight of what they lack.
// Many threads, since a step of one token has one block.
static constexpr u32 HALVING = 512;

// Where they go.
struct Halves {
    u16 *halves;
    u32 stride;
    u16 *block_sums;
    float *factors;
};

// The power of two that brings the largest size of some numbers to between 512 and 1024, and the one that undoes it.
struct Power {
    float to, back;

    __device__ __forceinline__ explicit Power(float most) {
        // Its exponent, not so small that a power of two here has none.
        u32 exponent = max(__float_as_uint(most) >> 23, 10u);
        to = __uint_as_float((263 - exponent) << 23);
        back = __uint_as_float((exponent - 9) << 23);
    }
};

// Row number `row` of them, made of `from` by a block of HALVING threads; `room` has a place for each of its warps.
static __device__ __forceinline__ void halve_row(const float *from, u32 columns, const Halves &out, u32 row, float *room) {
    float most = 0.0f;
    for (u32 k = threadIdx.x * 4; k < columns; k += HALVING * 4) {
        float4 a = *(const float4 *)(from + k);
        most = fmaxf(most, fmaxf(fmaxf(fabsf(a.x), fabsf(a.y)), fmaxf(fabsf(a.z), fabsf(a.w))));
    }
    most = warp_max(most);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = most;
    __syncthreads();
#pragma unroll
    for (u32 warp = 0; warp < HALVING / 32; ++warp) most = fmaxf(most, room[warp]);
    const Power power(most);
    if (threadIdx.x == 0) out.factors[row] = power.back;
    u32 stride = out.stride;
    u16 *to = out.halves + (u64)row * stride;
    u16 *sums = out.block_sums + (u64)row * (stride / 16);
    // Whole warps, since 32 lanes have 256 columns; four lanes have a block.
    for (u32 k = threadIdx.x * 8; k < stride; k += HALVING * 8) {
        float4 a = make_float4(0.0f, 0.0f, 0.0f, 0.0f), b = a;
        if (k < columns) {
            a = *(const float4 *)(from + k);
            b = *(const float4 *)(from + k + 4);
        }
        float x[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}, sum = 0.0f;
        u32 bits[8];
#pragma unroll
        for (u32 i = 0; i < 8; ++i) {
            bits[i] = to_f16(x[i] * power.to);
            sum += from_f16((u16)bits[i]);
        }
        *(uint4 *)(to + k) = make_uint4(bits[0] | bits[1] << 16, bits[2] | bits[3] << 16, bits[4] | bits[5] << 16,
                                        bits[6] | bits[7] << 16);
        sum += __shfl_xor_sync(ALL_LANES, sum, 1);
        sum += __shfl_xor_sync(ALL_LANES, sum, 2);
        if (threadIdx.x % 4 == 0) {
            u32 at = k / 256 * 16 + k % 256 / 32;
            u16 rounded = to_f16(sum);
            sums[at] = rounded;
            sums[at + 8] = to_f16(sum - from_f16(rounded));
        }
    }
}
