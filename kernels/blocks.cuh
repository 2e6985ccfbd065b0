// Eight neighbouring weights of a row, from the blocks that the file has: one function, for the type that KIND names.
//
// The first of the eight is a multiple of 8, so that all
// eight share their scale. Layouts: ggml-common.h of https://github.com/ggml-org/ggml. Each weight is what
// `quantize::dequantize` gives, but for the rounding of a minimum that is added in the same operation. A row begins where
// the one before ends, so no load is wider than blocks are aligned: 2 bytes for Q4_0, Q5_0, Q8_0, Q6_K, Q3_K and IQ4_NL, 1
// for MXFP4, 4 for Q4_1, Q5_1 and Q2_K, 8 for IQ4_XS, 16 for the others.

#include "kinds.cuh"

// Bytes of a block, and its weights.
#if KIND == F32
static constexpr u32 BLOCK_BYTES = 4, BLOCK_WEIGHTS = 1;
#elif KIND == F16 || KIND == BF16
static constexpr u32 BLOCK_BYTES = 2, BLOCK_WEIGHTS = 1;
#elif KIND == Q4_0 || KIND == IQ4_NL
static constexpr u32 BLOCK_BYTES = 18, BLOCK_WEIGHTS = 32;
#elif KIND == Q4_1
static constexpr u32 BLOCK_BYTES = 20, BLOCK_WEIGHTS = 32;
#elif KIND == Q5_0
static constexpr u32 BLOCK_BYTES = 22, BLOCK_WEIGHTS = 32;
#elif KIND == Q5_1
static constexpr u32 BLOCK_BYTES = 24, BLOCK_WEIGHTS = 32;
#elif KIND == Q8_0
static constexpr u32 BLOCK_BYTES = 34, BLOCK_WEIGHTS = 32;
#elif KIND == MXFP4
static constexpr u32 BLOCK_BYTES = 17, BLOCK_WEIGHTS = 32;
#elif KIND == Q2_K
static constexpr u32 BLOCK_BYTES = 84, BLOCK_WEIGHTS = 256;
#elif KIND == Q3_K
static constexpr u32 BLOCK_BYTES = 110, BLOCK_WEIGHTS = 256;
#elif KIND == IQ4_XS
static constexpr u32 BLOCK_BYTES = 136, BLOCK_WEIGHTS = 256;
#elif KIND == Q4_K
static constexpr u32 BLOCK_BYTES = 144, BLOCK_WEIGHTS = 256;
#elif KIND == Q5_K
static constexpr u32 BLOCK_BYTES = 176, BLOCK_WEIGHTS = 256;
#elif KIND == Q6_K
static constexpr u32 BLOCK_BYTES = 210, BLOCK_WEIGHTS = 256;
#else
#error "unsupported KIND"
#endif

static __device__ __forceinline__ u64 row_bytes(u32 columns) {
    return (u64)(columns / BLOCK_WEIGHTS) * BLOCK_BYTES;
}

static __device__ __forceinline__ u16 half_at(const u8 *from) { return *(const u16 *)from; }

// Eight bytes in two words, by loads of `width` bytes.
template <u32 width> static __device__ __forceinline__ void eight_bytes(const u8 *from, u32 &low, u32 &high) {
    if constexpr (width == 1) {
        low = from[0] | from[1] << 8 | from[2] << 16 | (u32)from[3] << 24;
        high = from[4] | from[5] << 8 | from[6] << 16 | (u32)from[7] << 24;
    } else if constexpr (width == 2) {
        low = half_at(from) | (u32)half_at(from + 2) << 16;
        high = half_at(from + 4) | (u32)half_at(from + 6) << 16;
    } else if constexpr (width == 4) {
        low = *(const u32 *)from;
        high = *(const u32 *)(from + 4);
    } else {
        uint2 both = *(const uint2 *)from;
        low = both.x;
        high = both.y;
    }
}

// Byte number `i` of eight in two words.
static __device__ __forceinline__ u32 byte_of(u32 low, u32 high, u32 i) {
    return (i < 4 ? low >> (8 * i) : high >> (8 * (i - 4))) & 255;
}

#if KIND == Q4_K || KIND == Q5_K
// Scale and minimum of a block of 32 within a super-block, of six bits each.
static __device__ __forceinline__ void scale_and_minimum(const u8 *packed, u32 sub, float &scale, float &minimum) {
    u32 s, m;
    if (sub < 4) {
        s = packed[sub] & 63;
        m = packed[sub + 4] & 63;
    } else {
        u32 low = packed[sub + 4];
        s = (low & 15) | (u32)(packed[sub - 4] >> 6) << 4;
        m = (low >> 4) | (u32)(packed[sub] >> 6) << 4;
    }
    scale = (float)s;
    minimum = (float)m;
}
#endif

#if KIND == IQ4_NL || KIND == IQ4_XS
// The number of a code of 4 bits.
static __device__ __forceinline__ float looked_up(u32 code) {
    u64 numbers = code & 8 ? 0x7159453526190d01ull : 0xf6eaddcfbfad9881ull;
    return (float)(i8)(numbers >> (8 * (code & 7)));
}
#endif

// Weights `k` to `k` + 7 of the row that begins at `row`.
static __device__ __forceinline__ void eight_weights(const u8 *row, u32 k, float w[8]) {
#if KIND == F32
    const float4 *from = (const float4 *)(row + 4 * (u64)k);
    float4 a = from[0], b = from[1];
    w[0] = a.x; w[1] = a.y; w[2] = a.z; w[3] = a.w;
    w[4] = b.x; w[5] = b.y; w[6] = b.z; w[7] = b.w;
#elif KIND == F16 || KIND == BF16
    uint4 all = *(const uint4 *)(row + 2 * (u64)k);
    u32 words[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
#if KIND == F16
        w[2 * i] = from_f16((u16)words[i]);
        w[2 * i + 1] = from_f16((u16)(words[i] >> 16));
#else
        w[2 * i] = from_bf16((u16)words[i]);
        w[2 * i + 1] = from_bf16((u16)(words[i] >> 16));
#endif
    }
#else
    const u8 *block = row + (u64)(k / BLOCK_WEIGHTS) * BLOCK_BYTES;
    u32 low, high;
#if KIND == Q4_K || KIND == Q5_K
    u32 within = k % 256, sub = within / 32, i0 = within % 32;
    float scale, minimum;
    scale_and_minimum(block + 4, sub, scale, minimum);
    scale *= from_f16(half_at(block));
    minimum *= from_f16(half_at(block + 2));
    u32 shift = 4 * (sub & 1);
#if KIND == Q4_K
    eight_bytes<8>(block + 16 + 32 * (sub / 2) + i0, low, high);
#else
    u32 upper_low, upper_high;
    eight_bytes<8>(block + 16 + i0, upper_low, upper_high);
    eight_bytes<8>(block + 48 + 32 * (sub / 2) + i0, low, high);
#endif
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        u32 q = byte_of(low, high, i) >> shift & 15;
#if KIND == Q5_K
        q |= (byte_of(upper_low, upper_high, i) >> sub & 1) << 4;
#endif
        w[i] = fmaf((float)q, scale, -minimum);
    }
#elif KIND == Q6_K
    u32 within = k % 256, half = within / 128, run = within % 128 / 32, i0 = within % 32;
    u32 upper_low, upper_high;
    eight_bytes<2>(block + 64 * half + 32 * (run & 1) + i0, low, high);
    eight_bytes<2>(block + 128 + 32 * half + i0, upper_low, upper_high);
    float scale = from_f16(half_at(block + 208)) * (float)(i8)block[192 + 8 * half + 2 * run + i0 / 16];
    u32 shift = run < 2 ? 0 : 4;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        u32 q = byte_of(low, high, i) >> shift & 15;
        q |= (byte_of(upper_low, upper_high, i) >> (2 * run) & 3) << 4;
        w[i] = ((float)q - 32.0f) * scale;
    }
#elif KIND == Q2_K || KIND == Q3_K
    u32 within = k % 256, half = within / 128, run = within % 128 / 32, i0 = within % 32;
    u32 part = 8 * half + 2 * run + i0 / 16;
#if KIND == Q2_K
    eight_bytes<4>(block + 16 + 32 * half + i0, low, high);
    float scale = from_f16(half_at(block + 80)) * (float)(block[part] & 15);
    float minimum = from_f16(half_at(block + 82)) * (float)(block[part] >> 4);
#else
    u32 upper_low, upper_high;
    eight_bytes<2>(block + 32 + 32 * half + i0, low, high);
    eight_bytes<2>(block + i0, upper_low, upper_high);
    u32 s = (block[96 + part % 8] >> (4 * (part / 8)) & 15) | (block[104 + part % 4] >> (2 * (part / 4)) & 3) << 4;
    float scale = from_f16(half_at(block + 108)) * ((float)s - 32.0f);
#endif
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        u32 q = byte_of(low, high, i) >> (2 * run) & 3;
#if KIND == Q2_K
        w[i] = fmaf((float)q, scale, -minimum);
#else
        q |= (byte_of(upper_low, upper_high, i) >> (4 * half + run) & 1) << 2;
        w[i] = ((float)q - 4.0f) * scale;
#endif
    }
#elif KIND == IQ4_XS
    u32 sub = k % 256 / 32, shift = k % 32 < 16 ? 0 : 4;
    eight_bytes<8>(block + 8 + 16 * sub + k % 16, low, high);
    u32 s = (block[4 + sub / 2] >> (4 * (sub & 1)) & 15) | (half_at(block + 2) >> (2 * sub) & 3) << 4;
    float scale = from_f16(half_at(block)) * ((float)s - 32.0f);
#pragma unroll
    for (u32 i = 0; i < 8; ++i) w[i] = looked_up(byte_of(low, high, i) >> shift & 15) * scale;
#elif KIND == Q8_0
    eight_bytes<2>(block + 2 + k % 32, low, high);
    float scale = from_f16(half_at(block));
#pragma unroll
    for (u32 i = 0; i < 8; ++i) w[i] = (float)(i8)byte_of(low, high, i) * scale;
#else
    // Byte b holds weight b below and weight b + 16 above.
    u32 i0 = k % 16, shift = k % 32 < 16 ? 0 : 4;
#if KIND == MXFP4
    eight_bytes<1>(block + 1 + i0, low, high);
    u32 exponent = block[0];
    // Half of two to the power of `exponent` - 127; the first two are below the normal numbers.
    float scale = __uint_as_float(exponent < 2 ? 1u << (21 + exponent) : (exponent - 1) << 23);
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        u32 code = byte_of(low, high, i) >> shift & 15;
        // Twice the sizes of the eight numbers, a byte each.
        float size = (float)((u32)(0x0c08060403020100ull >> (8 * (code & 7))) & 255);
        w[i] = (code & 8 ? -size : size) * scale;
    }
#else
    float scale = from_f16(half_at(block));
#if KIND == Q4_0 || KIND == IQ4_NL
    eight_bytes<2>(block + 2 + i0, low, high);
#elif KIND == Q4_1
    float minimum = from_f16(half_at(block + 2));
    eight_bytes<4>(block + 4 + i0, low, high);
#elif KIND == Q5_0
    eight_bytes<2>(block + 6 + i0, low, high);
    u32 fifths = (half_at(block + 2) | (u32)half_at(block + 4) << 16) >> (k % 32);
#elif KIND == Q5_1
    float minimum = from_f16(half_at(block + 2));
    eight_bytes<4>(block + 8 + i0, low, high);
    u32 fifths = *(const u32 *)(block + 4) >> (k % 32);
#endif
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        u32 q = byte_of(low, high, i) >> shift & 15;
#if KIND == Q4_0
        w[i] = ((float)q - 8.0f) * scale;
#elif KIND == IQ4_NL
        w[i] = looked_up(q) * scale;
#elif KIND == Q4_1
        w[i] = fmaf((float)q, scale, minimum);
#elif KIND == Q5_0
        w[i] = ((float)(q | (fifths >> i & 1) << 4) - 16.0f) * scale;
#else
        w[i] = fmaf((float)(q | (fifths >> i & 1) << 4), scale, minimum);
#endif
    }
#endif
#endif
#endif
}
