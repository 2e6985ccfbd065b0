// What every kernel uses: short names of types, conversions of 16-bit floats, sums over a warp. All inline PTX is here.
// NVRTC finds no headers of the toolkit, so none is asked for.

typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// Threads of a block, where a kernel does not say otherwise; its launch says the same (`launch.rs` of the engine).
static constexpr u32 THREADS = 128;
static constexpr u32 WARPS = THREADS / 32;
static constexpr u32 ALL_LANES = 0xffffffffu;

static __device__ __forceinline__ float from_f16(u16 bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

static __device__ __forceinline__ u16 to_f16(float value) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

static __device__ __forceinline__ float from_bf16(u16 bits) { return __uint_as_float((u32)bits << 16); }

static __device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

static __device__ __forceinline__ bool is_finite(float value) {
    return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u;
}

static __device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (u32 step = 16; step > 0; step /= 2) value += __shfl_xor_sync(ALL_LANES, value, step);
    return value;
}

static __device__ __forceinline__ float warp_max(float value) {
#pragma unroll
    for (u32 step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, step));
    return value;
}

// The sum over a block of so many warps, in every thread. `room` has a place for each warp; a barrier must lie between two
// uses of the same room.
template <u32 COUNT = WARPS> static __device__ __forceinline__ float block_sum(float value, float *room) {
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (u32 warp = 0; warp < COUNT; ++warp) sum += room[warp];
    return sum;
}

// Two f16 of a word each: a * b + c, rounded once.
static __device__ __forceinline__ u32 fma_pair(u32 a, u32 b, u32 c) {
    u32 pair;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(c));
    return pair;
}

static __device__ __forceinline__ u32 add_pair(u32 a, u32 b) {
    u32 pair;
    asm("add.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}

// One f16 of a pair, twice. An instruction that takes it reads the half it needs: this is none of its own, while a permutation
// of bytes would be.
static __device__ __forceinline__ u32 lower_twice(u32 pair) {
    u32 twice;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; mov.b32 %0, {low, low}; }" : "=r"(twice) : "r"(pair));
    return twice;
}

static __device__ __forceinline__ u32 upper_twice(u32 pair) {
    u32 twice;
    asm("{ .reg .b16 low, high; mov.b32 {low, high}, %1; mov.b32 %0, {high, high}; }" : "=r"(twice) : "r"(pair));
    return twice;
}

// The `mask` of `bits`, and `more`: one instruction, of which the compiler makes two.
static __device__ __forceinline__ u32 masked_or(u32 bits, u32 mask, u32 more) {
    u32 result;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(bits), "r"(mask), "r"(more));
    return result;
}

// Sixteen bytes that nobody reads again.
static __device__ __forceinline__ uint4 load_once(const void *from) {
    uint4 all;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(all.x), "=r"(all.y), "=r"(all.z), "=r"(all.w)
        : "l"(from));
    return all;
}

// Starts to copy sixteen bytes to shared memory, past the registers and the L1. PTX ISA, "cp.async".
static __device__ __forceinline__ void copy_ahead(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}

// Ends a group of such copies, which may be none.
static __device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits for this thread's copies, but for those of the last `COUNT` groups.
template <u32 COUNT> static __device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(COUNT) : "memory");
}

// sums += a * b, for 16 rows, 8 columns and a depth of 16 in f16. In lane 4 g + t: a[0] has row g at depths 2 t and 2 t + 1,
// a[1] row g + 8, a[2] and a[3] the same 8 deeper; b0 has column g at depths 2 t and 2 t + 1, b1 8 deeper; sums[0] and
// sums[1] are row g, columns 2 t and 2 t + 1, sums[2] and sums[3] row g + 8. PTX ISA, "mma.m16n8k16 with floating point type".
static __device__ __forceinline__ void multiply_add(float sums[4], const u32 a[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same with bf16 for f16.
static __device__ __forceinline__ void multiply_add_bf16(float sums[4], const u32 a[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two f16 as two bf16 and what those lack, which is a bf16 again: eleven bits are eight and three.
static __device__ __forceinline__ void two_bf16(u32 halves, u32 &most, u32 &rest) {
    float a = from_f16((u16)halves), b = from_f16((u16)(halves >> 16));
    u32 a_bits = __float_as_uint(a), b_bits = __float_as_uint(b);
    most = __byte_perm(a_bits, b_bits, 0x7632);
    a -= __uint_as_float(a_bits & 0xffff0000u);
    b -= __uint_as_float(b_bits & 0xffff0000u);
    rest = __byte_perm(__float_as_uint(a), __float_as_uint(b), 0x7632);
}
