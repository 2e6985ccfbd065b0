// What a GPU does at most: its memory read, written and copied, and tensor cores fed from registers. Nothing of a model is in
// here; the figures are the ceiling that a model's are held against.

// Words of 16 bytes that a thread has under way at once, so that loads wait for the memory and not for each other.
static constexpr unsigned int under_way = 8;
// Products that don't wait for one another; more than a scheduler has to hide.
static constexpr int chains = 8;

static __device__ unsigned int threads() { return gridDim.x * blockDim.x; }
static __device__ unsigned int thread() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Reads `words` words of 16 bytes `passes` times. The sum of a thread is stored, so that no load can be left out.
extern "C" __global__ void read_words(const uint4 *from, unsigned int *sums, unsigned int words, unsigned int passes) {
    unsigned int sum = 0;
    for (unsigned int pass = 0; pass < passes; ++pass) {
#pragma unroll under_way
        for (unsigned int word = thread(); word < words; word += threads()) {
            uint4 value = from[word];
            sum += (value.x ^ value.y) + (value.z ^ value.w);
        }
    }
    sums[thread()] = sum;
}

// Writes them.
extern "C" __global__ void write_words(uint4 *to, unsigned int words, unsigned int passes) {
    for (unsigned int pass = 0; pass < passes; ++pass) {
        uint4 value = {pass, thread(), pass, thread()};
#pragma unroll under_way
        for (unsigned int word = thread(); word < words; word += threads()) to[word] = value;
    }
}

// Copies them.
extern "C" __global__ void copy_words(const uint4 *from, uint4 *to, unsigned int words, unsigned int passes) {
    for (unsigned int pass = 0; pass < passes; ++pass) {
#pragma unroll under_way
        for (unsigned int word = thread(); word < words; word += threads()) to[word] = from[word];
    }
}

// Bits that differ from lane to lane, since operands that are all alike draw less power than a model's.
static __device__ unsigned int bits(unsigned int number) {
    unsigned int mixed = (thread() * 8 + number) * 2654435761u;
    return mixed ^ (mixed >> 15);
}

// What a product takes and how it is done: 16 × 16 by 16 × 8, 4,096 operations, f16 with sums in single precision.
struct F16 {
    typedef float Sum;
    // Two between 1/2 and 1 of either sign: sums wander, and stay finite for as long as a launch may take.
    static __device__ unsigned int operand(unsigned int number) { return (bits(number) & 0x83ff83ffu) | 0x38003800u; }
    static __device__ void multiply(Sum (&sum)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

// 8-bit integers, 16 × 32 by 32 × 8: 8,192 operations.
struct Int8 {
    typedef int Sum;
    static __device__ unsigned int operand(unsigned int number) { return bits(number); }
    static __device__ void multiply(Sum (&sum)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

#if __CUDA_ARCH__ >= 890
// 8-bit floating-point numbers (e4m3), which compute capability 8.9 began with; as many operations.
struct Fp8 {
    typedef float Sum;
    static __device__ unsigned int operand(unsigned int number) { return (bits(number) & 0x87878787u) | 0x30303030u; }
    static __device__ void multiply(Sum (&sum)[4], const unsigned int (&a)[4], const unsigned int (&b)[2]) {
        asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};
#endif

// `iterations` times 8 products a warp, whose operands stay in registers.
template <class Product> static __device__ void multiply(float *sums, unsigned int iterations) {
    typename Product::Sum sum[chains][4] = {};
    unsigned int a[4], b[2];
#pragma unroll
    for (int word = 0; word < 4; ++word) a[word] = Product::operand(word);
#pragma unroll
    for (int word = 0; word < 2; ++word) b[word] = Product::operand(4 + word);
    for (unsigned int iteration = 0; iteration < iterations; ++iteration) {
#pragma unroll
        for (int c = 0; c < chains; ++c) Product::multiply(sum[c], a, b);
    }
    float all = 0.0f;
#pragma unroll
    for (int c = 0; c < chains; ++c) all += (float)sum[c][0] + (float)sum[c][1] + (float)sum[c][2] + (float)sum[c][3];
    sums[thread()] = all;
}

extern "C" __global__ void multiply_f16(float *sums, unsigned int iterations) { multiply<F16>(sums, iterations); }
extern "C" __global__ void multiply_int8(float *sums, unsigned int iterations) { multiply<Int8>(sums, iterations); }
#if __CUDA_ARCH__ >= 890
extern "C" __global__ void multiply_fp8(float *sums, unsigned int iterations) { multiply<Fp8>(sums, iterations); }
#endif
