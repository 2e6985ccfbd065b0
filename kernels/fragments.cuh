// Weights as the tensor cores take them: for the type that KIND names, a unit of 16 rows and some columns in registers, and
// fragments of it. Weights that are floats of 16 bits are fragments as they are.
//
// Units are made of the file's blocks when a model is loaded (`fragments.rs` of the engine says which bit goes where). A unit
// is as many bytes as the blocks it is made of. Lane 4 g + t has rows g and g + 8. A run of 32 columns is two fragments: of
// the columns from 8 t on, four in each, so that a lane's activations are 16 neighbouring bytes. Q6_K, whose scales are for
// 16 columns, has one fragment for each 16: the four from 4 t on.
//
// Codes become f16 through the bits of 1024, whose last bit counts ones: 0x6400 | code is 1024 + code. The zero is subtracted
// exactly before anything is multiplied. Scales of Q4_K and Q5_K are whole numbers below 64, so code * scale is exact in f16
// and is what a fragment holds; all others are applied in f32 to the products of a block.

#include "kinds.cuh"

#if KIND == Q4_K || KIND == Q5_K
static constexpr u32 UNIT_COLUMNS = 256;
#elif KIND == Q6_K
// Half a block, so that registers hold one and the next.
static constexpr u32 UNIT_COLUMNS = 128;
#else
static constexpr u32 UNIT_COLUMNS = 64;
#endif
static constexpr u32 RUNS = UNIT_COLUMNS / 32;

#if KIND == Q4_K
static constexpr u32 UNIT_BYTES = 2304;
#elif KIND == Q5_K
static constexpr u32 UNIT_BYTES = 2816;
#elif KIND == Q6_K
static constexpr u32 UNIT_BYTES = 1696;
#elif KIND == Q4_0
static constexpr u32 UNIT_BYTES = 576;
#elif KIND == Q8_0
static constexpr u32 UNIT_BYTES = 1088;
#elif KIND == MXFP4
static constexpr u32 UNIT_BYTES = 544;
#elif KIND == Q4_1
static constexpr u32 UNIT_BYTES = 640;
#elif KIND == Q5_0
static constexpr u32 UNIT_BYTES = 704;
#elif KIND == Q5_1
static constexpr u32 UNIT_BYTES = 768;
#elif KIND == F16
static constexpr u32 UNIT_BYTES = 2048;
#elif KIND == BF16
static constexpr u32 UNIT_BYTES = 2048;
#else
#error "KIND has no tensor-core kernel"
#endif

// Whether a scale is for 16 columns.
static constexpr bool NARROW = KIND == Q6_K;

// What a result is multiplied by, since fragments hold a part of their weights.
static constexpr float WHOLE = KIND == MXFP4 ? 16384.0f : 1.0f;

// Bytes of `word`, or the upper half of 1024, which is byte 4.
static __device__ __forceinline__ u32 spread(u32 word, u32 bytes) { return __byte_perm(word, 0x64646464u, bytes); }

static __device__ __forceinline__ float lower(u32 pair) { return from_f16((u16)pair); }
static __device__ __forceinline__ float upper(u32 pair) { return from_f16((u16)(pair >> 16)); }

// A word of a fragment's codes of four bits: 1024 + code for row g, 1024 + 16 * code for row g + 8.
static __device__ __forceinline__ void codes(u32 word, u32 a[4]) {
    a[0] = masked_or(word, 0x000f000fu, 0x64006400u);
    a[1] = masked_or(word, 0x00f000f0u, 0x64006400u);
    word >>= 8;
    a[2] = masked_or(word, 0x000f000fu, 0x64006400u);
    a[3] = masked_or(word, 0x00f000f0u, 0x64006400u);
}

// The codes' upper bits, of which `mask` says how many there are: 0x0010 for one, 0x0030 for two.
static __device__ __forceinline__ void upper_bits(u32 bits, u32 mask, u32 a[4]) {
    mask |= mask << 16;
    a[0] = masked_or(bits, mask, a[0]);
    a[1] = masked_or(bits, mask << 4, a[1]);
    a[2] = masked_or(bits >> 8, mask, a[2]);
    a[3] = masked_or(bits << 8, mask << 4, a[3]);
}

// Codes less the type's zero: `low` is minus 1024 minus zero, `high` minus 64 minus zero, both twice.
static __device__ __forceinline__ void centred(u32 a[4], u32 low, u32 high) {
    a[0] = add_pair(a[0], low);
    a[1] = fma_pair(a[1], 0x2c002c00u, high);
    a[2] = add_pair(a[2], low);
    a[3] = fma_pair(a[3], 0x2c002c00u, high);
}

#if KIND == Q4_K || KIND == Q5_K
struct Unit {
    uint4 codes[4];
#if KIND == Q5_K
    uint4 fifths;
#endif
    // Of rows g and g + 8: eight scales of six bits with the minima's upper two above them, the minima's lower four, and the
    // factors of both.
    uint4 low, high;
};

static __device__ __forceinline__ void load(Unit &unit, const u8 *from, u32 lane) {
#pragma unroll
    for (u32 i = 0; i < 4; ++i) unit.codes[i] = load_once(from + 512 * i + 16 * lane);
    from += 2048;
#if KIND == Q5_K
    unit.fifths = load_once(from + 16 * lane);
    from += 512;
#endif
    unit.low = load_once(from + 16 * (lane / 4));
    unit.high = load_once(from + 16 * (lane / 4) + 128);
}

// Four runs of a unit, which a loop over both halves may have to pick. Scales have two bits of a minimum above them.
struct Half {
    uint4 codes[2];
    u32 fifths[2], low, high;
};

static __device__ __forceinline__ Half half_of(const Unit &unit, u32 half) {
    Half of;
    of.codes[0] = half ? unit.codes[2] : unit.codes[0];
    of.codes[1] = half ? unit.codes[3] : unit.codes[1];
#if KIND == Q5_K
    of.fifths[0] = half ? unit.fifths.z : unit.fifths.x;
    of.fifths[1] = half ? unit.fifths.w : unit.fifths.y;
#endif
    of.low = half ? unit.low.y : unit.low.x;
    of.high = half ? unit.high.y : unit.high.x;
    return of;
}

static __device__ __forceinline__ void fragments(const Half &half, u32 run, u32 a[2][4]) {
    const uint4 four = run < 2 ? half.codes[0] : half.codes[1];
    codes(run % 2 ? four.z : four.x, a[0]);
    codes(run % 2 ? four.w : four.y, a[1]);
#if KIND == Q5_K
    u32 fifths = run < 2 ? half.fifths[0] : half.fifths[1];
    upper_bits(fifths >> (run % 2 * 2), 0x0010u, a[0]);
    upper_bits(fifths >> (run % 2 * 2 + 1), 0x0010u, a[1]);
#endif
    // The scales of both rows, that of row g + 8 by 16 for its codes are 16 times as large; and minus 1024 times them.
    u32 pair = masked_or(__byte_perm(half.low, half.high, 0x4400u + 0x1111u * run), 0x003f003fu, 0x64006400u);
    u32 scales = fma_pair(pair, 0x2c003c00u, 0xd400e400u), zeros = fma_pair(scales, 0xe400e400u, 0u);
    u32 low = lower_twice(scales), high = upper_twice(scales);
    u32 low_zero = lower_twice(zeros), high_zero = upper_twice(zeros);
#pragma unroll
    for (u32 j = 0; j < 2; ++j) {
        a[j][0] = fma_pair(a[j][0], low, low_zero);
        a[j][1] = fma_pair(a[j][1], high, high_zero);
        a[j][2] = fma_pair(a[j][2], low, low_zero);
        a[j][3] = fma_pair(a[j][3], high, high_zero);
    }
}

// Minima of blocks 2 t and 2 t + 1 of a row, in f16.
static __device__ __forceinline__ u32 two_minima(const uint4 &row, u32 t) {
    u32 top = (t < 2 ? row.x : row.y) >> (16 * (t % 2)), low = row.z >> (8 * t);
    u32 both = (low & 0x0fu) | (low & 0xf0u) << 12 | (top & 0xc0u) >> 2 | (top & 0xc000u) << 6;
    return add_pair(both | 0x64006400u, 0xe400e400u);
}

// A fragment whose depths are the unit's eight blocks, twice: once for each half of their sums.
static __device__ __forceinline__ void minima(const Unit &unit, u32 t, u32 a[4]) {
    a[0] = a[2] = two_minima(unit.low, t);
    a[1] = a[3] = two_minima(unit.high, t);
}
#elif KIND == Q6_K
struct Unit {
    uint4 codes[2], upper;
    // Eight scales of row g, and of row g + 8, 128 too high; and their factors.
    uint2 low, high;
    u32 factors;
};

static __device__ __forceinline__ void load(Unit &unit, const u8 *from, u32 lane) {
#pragma unroll
    for (u32 i = 0; i < 2; ++i) unit.codes[i] = load_once(from + 512 * i + 16 * lane);
    unit.upper = load_once(from + 1024 + 16 * lane);
    unit.low = *(const uint2 *)(from + 1536 + 8 * (lane / 4));
    unit.high = *(const uint2 *)(from + 1600 + 8 * (lane / 4));
    unit.factors = *(const u32 *)(from + 1664 + 4 * (lane / 4));
}

static __device__ __forceinline__ void fragments(const Unit &unit, u32 run, u32 a[2][4]) {
    const uint4 four = run < 2 ? unit.codes[0] : unit.codes[1];
    u32 even = run < 2 ? unit.upper.x : unit.upper.z, odd = run < 2 ? unit.upper.y : unit.upper.w;
    codes(run % 2 ? four.z : four.x, a[0]);
    codes(run % 2 ? four.w : four.y, a[1]);
#pragma unroll
    for (u32 j = 0; j < 2; ++j) {
        upper_bits((run % 2 ? odd : even) >> (2 * j), 0x0030u, a[j]);
        centred(a[j], 0xe420e420u, 0xd600d600u);
    }
}

// Scales of a run's fragments for rows g and g + 8.
static __device__ __forceinline__ void scales(const Unit &unit, u32 run, float of[2][2]) {
    u32 at = run % 2 * 2, pick = 0x4040u | at | (at + 1) << 8;
    u32 both = add_pair(spread(run < 2 ? unit.low.x : unit.low.y, pick), 0xe480e480u);
    of[0][0] = lower(unit.factors) * lower(both);
    of[1][0] = lower(unit.factors) * upper(both);
    both = add_pair(spread(run < 2 ? unit.high.x : unit.high.y, pick), 0xe480e480u);
    of[0][1] = upper(unit.factors) * lower(both);
    of[1][1] = upper(unit.factors) * upper(both);
}
#elif KIND == F16 || KIND == BF16
// The weights themselves.
struct Unit {
    uint4 fragments[4];
};

static __device__ __forceinline__ void load(Unit &unit, const u8 *from, u32 lane) {
#pragma unroll
    for (u32 i = 0; i < 4; ++i) unit.fragments[i] = load_once(from + 512 * i + 16 * lane);
}
#else
// Two blocks of 32 columns.
struct Unit {
#if KIND == Q8_0
    // Of each block.
    uint4 codes[2];
#else
    uint4 codes;
#endif
#if KIND == Q5_0 || KIND == Q5_1
    u32 fifths;
#endif
    // Of a block's rows g and g + 8.
#if KIND == MXFP4
    u32 exponents;
#else
    uint2 scales;
#endif
#if KIND == Q4_1 || KIND == Q5_1
    // Of both blocks, of row g and of row g + 8.
    uint2 minima;
#endif
};

static __device__ __forceinline__ void load(Unit &unit, const u8 *from, u32 lane) {
#if KIND == Q8_0
#pragma unroll
    for (u32 i = 0; i < 2; ++i) unit.codes[i] = load_once(from + 512 * i + 16 * lane);
    from += 1024;
#else
    unit.codes = load_once(from + 16 * lane);
    from += 512;
#endif
#if KIND == Q5_0 || KIND == Q5_1
    unit.fifths = *(const u32 *)(from + 4 * lane);
    from += 128;
#endif
#if KIND == MXFP4
    unit.exponents = *(const u32 *)(from + 4 * (lane / 4));
#else
    unit.scales = *(const uint2 *)(from + 8 * (lane / 4));
#endif
#if KIND == Q4_1 || KIND == Q5_1
    unit.minima = *(const uint2 *)(from + 64 + 8 * (lane / 4));
#endif
}

static __device__ __forceinline__ void fragments(const Unit &unit, u32 run, u32 a[2][4]) {
#if KIND == Q8_0
    // Four codes of a row in a word, 128 too high.
    const uint4 &block = unit.codes[run];
#pragma unroll
    for (u32 j = 0; j < 2; ++j) {
        u32 low = j ? block.z : block.x, high = j ? block.w : block.y;
        a[j][0] = add_pair(spread(low, 0x4140u), 0xe480e480u);
        a[j][1] = add_pair(spread(high, 0x4140u), 0xe480e480u);
        a[j][2] = add_pair(spread(low, 0x4342u), 0xe480e480u);
        a[j][3] = add_pair(spread(high, 0x4342u), 0xe480e480u);
    }
#elif KIND == MXFP4
    // Three bits of size below the exponent of an f16 are 2^-14 of what they mean, also where they are subnormal.
#pragma unroll
    for (u32 j = 0; j < 2; ++j) {
        u32 word = run ? (j ? unit.codes.w : unit.codes.z) : (j ? unit.codes.y : unit.codes.x);
        a[j][0] = word & 0x8e008e00u;
        a[j][1] = word << 3 & 0x8e008e00u;
        a[j][2] = masked_or(word << 6, 0x0e000e00u, word << 1 & 0x80008000u);
        a[j][3] = masked_or(word << 9, 0x0e000e00u, word << 2 & 0x80008000u);
    }
#else
    codes(run ? unit.codes.z : unit.codes.x, a[0]);
    codes(run ? unit.codes.w : unit.codes.y, a[1]);
#pragma unroll
    for (u32 j = 0; j < 2; ++j) {
        if (KIND == Q4_0) centred(a[j], 0xe408e408u, 0xd480d480u);
#if KIND == Q5_0 || KIND == Q5_1
        upper_bits(unit.fifths >> (2 * run + j), 0x0010u, a[j]);
#endif
        if (KIND == Q5_0) centred(a[j], 0xe410e410u, 0xd500d500u);
        if (KIND == Q4_1 || KIND == Q5_1) centred(a[j], 0xe400e400u, 0xd400d400u);
    }
#endif
}

// Scales of a block for rows g and g + 8.
static __device__ __forceinline__ void scales(const Unit &unit, u32 run, float of[2]) {
#if KIND == MXFP4
    // Two to the power of a byte less 127; zero stands for a number below the normal ones.
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
        u32 exponent = unit.exponents >> (16 * run + 8 * i) & 255;
        of[i] = __uint_as_float(exponent ? exponent << 23 : 0x00400000u);
    }
#else
    u32 both = run ? unit.scales.y : unit.scales.x;
    of[0] = lower(both);
    of[1] = upper(both);
#endif
}
#endif
