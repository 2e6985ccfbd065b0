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

// The sum over a block of THREADS, in every thread. `room` has a place for each warp; a barrier must lie between two
// uses of the same room.
static __device__ __forceinline__ float block_sum(float value, float *room) {
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (u32 warp = 0; warp < WARPS; ++warp) sum += room[warp];
    return sum;
}
