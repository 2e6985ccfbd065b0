// A load on the multiprocessors and on nothing else: fused multiply-adds in registers for as long as it is told.
// It is the square wave under which the power sensor shows its window, so nothing in it may depend on data.

// Eight chains that do not wait for one another hide the latency of a multiply-add.
static constexpr int chains = 8;
// Multiply-adds of each chain in one iteration: long enough that the loop's own counting costs little.
static constexpr int depth = 16;

// Every thread runs `iterations` × `depth` × `chains` multiply-adds and stores their sum, so that none of
// them can be left out. With |factor| < 1 the values settle and never become infinite.
extern "C" __global__ void load(float *sums, unsigned int iterations, float factor, float addend) {
    unsigned int thread = blockIdx.x * blockDim.x + threadIdx.x;
    float value[chains];
#pragma unroll
    for (int c = 0; c < chains; ++c) value[c] = (float)(thread + c);
    for (unsigned int i = 0; i < iterations; ++i) {
#pragma unroll
        for (int d = 0; d < depth; ++d) {
#pragma unroll
            for (int c = 0; c < chains; ++c) value[c] = __fmaf_rn(value[c], factor, addend);
        }
    }
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < chains; ++c) sum += value[c];
    sums[thread] = sum;
}
