//! PTX that NVRTC makes: control flow, calls, local memory and the instructions of real kernels, for every target.

mod support;

use std::time::Instant;

use support::nvrtc::ptx;
use support::{Arg, Run, floats, words};

const ARCHITECTURES: [&str; 4] = ["compute_80", "compute_90a", "compute_100a", "compute_120a"];

#[test]
fn the_products_load_gives_its_sums() {
    let source = include_str!("../../../kernels/load.cu");
    for architecture in ARCHITECTURES {
        let Some(text) = ptx(source, architecture) else { return };
        let (blocks, threads, iterations) = (3, 256, 5u32);
        let mut sums = vec![0; blocks * threads * 4];
        let run = Run::new(&text, "load").blocks(blocks as u32, threads as u32);
        let args = &mut [Arg::Bytes(&mut sums), Arg::U32(iterations), Arg::F32(0.5), Arg::F32(1.0)];
        let summary = run.go(args).unwrap_or_else(|fault| panic!("{architecture}: {fault}"));
        for (thread, sum) in floats(&sums).into_iter().enumerate() {
            let chain = |c: usize| (0..iterations * 16).fold((thread + c) as f32, |v, _| v.mul_add(0.5, 1.0));
            let want = (0..8).fold(0.0, |sum, c| sum + chain(c));
            assert_eq!(sum, want, "{architecture}, thread {thread}");
        }
        let warps = (blocks * threads / 32) as u64;
        assert_eq!(summary.by_name["fma.rn.f32"], warps * u64::from(iterations) * 128, "{architecture}");
        assert_eq!(summary.global.bytes, (blocks * threads * 4) as u64);
        assert_eq!(summary.global.sectors, warps * 4, "whole sectors");
    }
}

/// What `kernels/peaks.cu` is timed for is what it does: every byte once a pass, every product once an iteration.
#[test]
fn peaks_are_of_the_work_that_is_counted() {
    let source = include_str!("../../../kernels/peaks.cu");
    for architecture in ["compute_80", "compute_89", "compute_90a", "compute_120a"] {
        let Some(text) = ptx(source, architecture) else { return };
        // More words than threads, and not a multiple of them.
        let (blocks, threads, count, passes) = (2, 64, 300usize, 3u32);
        let (lanes, all) = (blocks * threads, count as u32);
        let run = |kernel: &str, args: &mut [Arg<'_>]| {
            let run = Run::new(&text, kernel).blocks(blocks as u32, threads as u32);
            run.go(args).unwrap_or_else(|fault| panic!("{architecture}, {kernel}: {fault}"))
        };
        let bytes_of = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
        let numbers: Vec<u32> = (0..all * 4).map(|n| n.wrapping_mul(2_654_435_761)).collect();
        let (mut from, mut to, mut sums) = (bytes_of(&numbers), vec![0; count * 16], vec![0; lanes * 4]);

        let args = &mut [Arg::Bytes(&mut from), Arg::Bytes(&mut sums), Arg::U32(all), Arg::U32(passes)];
        let summary = run("read_words", args);
        assert_eq!(summary.global.bytes, (count * 16 * passes as usize + lanes * 4) as u64, "{architecture}");
        for (thread, sum) in words(&sums).into_iter().enumerate() {
            let word = |at: usize| {
                (numbers[4 * at] ^ numbers[4 * at + 1])
                    .wrapping_add(numbers[4 * at + 2] ^ numbers[4 * at + 3])
            };
            let want = (thread..count).step_by(lanes).map(word).fold(0, u32::wrapping_add);
            assert_eq!(sum, want.wrapping_mul(passes), "{architecture}, thread {thread}");
        }
        let args = &mut [Arg::Bytes(&mut from), Arg::Bytes(&mut to), Arg::U32(all), Arg::U32(passes)];
        let summary = run("copy_words", args);
        assert_eq!(summary.global.bytes, (2 * count * 16 * passes as usize) as u64, "{architecture}");
        assert_eq!(from, to, "{architecture}");
        let summary = run("write_words", &mut [Arg::Bytes(&mut to), Arg::U32(all), Arg::U32(passes)]);
        assert_eq!(summary.global.bytes, (count * 16 * passes as usize) as u64, "{architecture}");
        let last = (0..count).flat_map(|word| [passes - 1, (word % lanes) as u32].repeat(2));
        assert_eq!(words(&to), last.collect::<Vec<_>>(), "{architecture}");

        let products = [
            ("multiply_f16", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"),
            ("multiply_int8", "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32"),
            ("multiply_fp8", "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"),
        ];
        for (kernel, instruction) in products {
            if kernel == "multiply_fp8" && architecture == "compute_80" {
                continue;
            }
            let mut once = vec![0; lanes * 4];
            let summary = run(kernel, &mut [Arg::Bytes(&mut once), Arg::U32(1)]);
            assert_eq!(summary.by_name[instruction], (lanes / 32) as u64 * 8, "{architecture}");
            let summary = run(kernel, &mut [Arg::Bytes(&mut sums), Arg::U32(passes)]);
            assert_eq!(
                summary.by_name[instruction],
                (lanes / 32) as u64 * 8 * u64::from(passes),
                "{architecture}"
            );
            let (once, sums) = (floats(&once), floats(&sums));
            assert!(sums.iter().all(|sum| sum.is_finite()) && sums.iter().any(|sum| *sum != 0.0), "{kernel}");
            assert!(once != sums, "{architecture}, {kernel}: iterations add up");
        }
    }
}

const CALLS: &str = r#"
__constant__ float table[16] = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16};
struct P { unsigned long long a; int b; float c[3]; unsigned char d; };
__device__ __noinline__ float helper(float x, int n) { float s = 0; for (int i = 0; i < n; i++) s = s * x + table[(i * 7) & 15]; return s; }
__device__ __noinline__ P big(P p, int k) { p.c[k & 1] += p.b; p.a *= 3; return p; }
extern "C" __global__ void calls(float *y, P p, int n) {
    int i = threadIdx.x;
    P q = big(p, i);
    if (i % 3 == 0) y[i] = helper(y[i], n + i % 5) + q.c[1];
    else y[i] = helper(0.5f, i % 7) + (float)q.a;
}
extern "C" __global__ void local_(float *y, int n) {
    float a[32];
    for (int i = 0; i < 32; i++) a[i] = y[i] + threadIdx.x;
    float s = 0;
    for (int i = 0; i < n; i++) s += a[(i * 5 + threadIdx.x) & 31];
    __syncthreads();
    y[threadIdx.x] = s;
}
extern "C" __global__ void branches(int *y, int n) {
    int v = y[threadIdx.x], r = 0;
    switch (v & 7) {
        case 0: r = v / n; break;
        case 1: r = v % n; break;
        case 2: r = __popc(v); break;
        case 3: for (int i = 0; i < v % 13; i++) r += i * v; break;
        case 4: r = __clz(v); break;
        case 5: r = v > 100 ? v * 3 : v << 2; break;
        case 6: while (v > 3) { v = v % 2 ? 3 * v + 1 : v / 2; if (++r > 200) break; } break;
        default: r = -v;
    }
    y[threadIdx.x] = r;
}
"#;

/// What the kernel `calls` gives thread `i`.
fn called(y: f32, i: usize, n: usize) -> f32 {
    let helper = |x: f32, n: usize| (0..n).fold(0.0, |s: f32, i| s.mul_add(x, ((i * 7) % 16 + 1) as f32));
    let mut c = [0.5, 1.5, 2.5];
    c[i & 1] += 7.0;
    if i.is_multiple_of(3) { helper(y, n + i % 5) + c[1] } else { helper(0.5, i % 7) + 33.0 }
}

#[test]
fn calls_local_memory_and_branches() {
    let bytes_of = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    for architecture in ARCHITECTURES {
        let Some(text) = ptx(CALLS, architecture) else { return };
        let ok = |result: Result<_, fake_cuda::ptx::fault::Fault>| {
            result.unwrap_or_else(|fault| panic!("{architecture}: {fault}"));
        };
        let values: Vec<f32> = (0..64).map(|i| i as f32 / 16.0 - 2.0).collect();
        let mut bytes = bytes_of(&values);
        // { 11, 7, { 0.5, 1.5, 2.5 }, 9 }
        let structure =
            [11, 0, 7, 0x3f00_0000, 0x3fc0_0000, 0x4020_0000, 9, 0].map(u32::to_le_bytes).concat();
        let run = Run::new(&text, "calls").blocks(1, 64);
        ok(run.go(&mut [Arg::Bytes(&mut bytes), Arg::Struct(&structure), Arg::U32(3)]));
        for (i, got) in floats(&bytes).into_iter().enumerate() {
            assert_eq!(got, called(values[i], i, 3), "{architecture}, thread {i}");
        }
        let values: Vec<f32> = (0..64).map(|i| i as f32 / 8.0).collect();
        bytes = bytes_of(&values);
        ok(Run::new(&text, "local_").blocks(1, 64).go(&mut [Arg::Bytes(&mut bytes), Arg::U32(50)]));
        for (thread, got) in floats(&bytes).into_iter().enumerate() {
            let want = (0..50).fold(0.0, |s: f32, i| s + (values[(i * 5 + thread) % 32] + thread as f32));
            assert_eq!(got, want, "{architecture}, thread {thread}");
        }
        let ints: Vec<i32> = (0..96).map(|i| i * 37 % 1000).collect();
        for seed in 1..4 {
            bytes = ints.iter().flat_map(|value| value.to_le_bytes()).collect();
            let run = Run::new(&text, "branches").blocks(1, 96).seed(seed);
            ok(run.go(&mut [Arg::Bytes(&mut bytes), Arg::U32(7)]));
            for (v, got) in ints.iter().zip(words(&bytes)) {
                assert_eq!(got as i32, branched(*v), "{architecture}, seed {seed}, {v}");
            }
        }
    }
}

/// What the kernel `branches` makes of a value.
fn branched(v: i32) -> i32 {
    match v & 7 {
        0 => v / 7,
        1 => v % 7,
        2 => v.count_ones() as i32,
        3 => (0..v % 13).map(|i| i * v).sum(),
        4 => v.leading_zeros() as i32,
        5 if v > 100 => v * 3,
        5 => v << 2,
        6 => {
            let (mut v, mut steps) = (v, 0);
            while v > 3 && steps <= 200 {
                v = if v % 2 != 0 { 3 * v + 1 } else { v / 2 };
                steps += 1;
            }
            steps
        }
        _ => -v,
    }
}

const TILE: &str = r#"
typedef unsigned u32;
__device__ void mma(float *d, const u32 *a, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// c[16 * warps x 8] = a[m x k] * b[8 x k]^T in f16, rows of 64 k in shared memory, two stages.
extern "C" __global__ void tile(const uint4 *a, const uint4 *b, float *c, int k) {
    extern __shared__ __align__(16) unsigned char room[];
    u32 base = (u32)__cvta_generic_to_shared(room);
    int warps = blockDim.x / 32, warp = threadIdx.x / 32, lane = threadIdx.x % 32, steps = k / 64, rows = 16 * warps + 8;
    float d[4] = {0, 0, 0, 0};
    auto fill = [&](int step) {
        for (int at = threadIdx.x; at < rows * 8; at += blockDim.x) {
            int row = at / 8, piece = at % 8;
            const uint4 *from = row < 16 * warps ? a + (size_t)(blockIdx.x * 16 * warps + row) * (k / 8) : b + (size_t)(row - 16 * warps) * (k / 8);
            u32 to = base + (step % 2) * rows * 128 + row * 128 + ((piece ^ row % 8) * 16);
            asm volatile("cp.async.cg.shared.global [%0],[%1],16;" :: "r"(to), "l"(from + step * 8 + piece) : "memory");
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    fill(0);
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps) fill(step + 1); else asm volatile("cp.async.commit_group;" ::: "memory");
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        u32 stage = base + (step % 2) * rows * 128;
        for (int q = 0; q < 4; q++) {
            u32 x[4], y[2];
            int row = warp * 16 + lane % 16, piece = 2 * q + lane / 16;
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];" : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"(stage + row * 128 + ((piece ^ row % 8) * 16)));
            row = 16 * warps + lane % 8; piece = 2 * q + lane / 8 % 2;
            asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1},[%2];" : "=r"(y[0]), "=r"(y[1]) : "r"(stage + row * 128 + ((piece ^ row % 8) * 16)));
            mma(d, x, y[0], y[1]);
        }
        __syncthreads();
    }
    int m = (blockIdx.x * warps + warp) * 16 + lane / 4, n = lane % 4 * 2;
    c[m * 8 + n] = d[0]; c[m * 8 + n + 1] = d[1]; c[(m + 8) * 8 + n] = d[2]; c[(m + 8) * 8 + n + 1] = d[3];
}
"#;

/// Small whole numbers in f16, exact in every product and sum.
fn halves(count: usize, factor: usize) -> (Vec<f32>, Vec<u8>) {
    let values: Vec<f32> = (0..count).map(|i| (i * factor / 7 % 9) as f32 - 4.0).collect();
    let half = |value: &f32| {
        let magnitude = value.abs();
        let bits = if magnitude == 0.0 { 0 } else { (magnitude.to_bits() >> 13) as u16 - (112 << 10) };
        (bits | if *value < 0.0 { 0x8000 } else { 0 }).to_le_bytes()
    };
    let bytes = values.iter().flat_map(half).collect();
    (values, bytes)
}

#[test]
fn a_tiled_product_with_asynchronous_copies_is_exact_and_each_planted_fault_found() {
    let (m, k) = (128, 256);
    let ((a, mut a_bytes), (b, mut b_bytes)) = (halves(m * k, 13), halves(8 * k, 29));
    let mut run_it = |text: &str| {
        let mut c = vec![0; m * 8 * 4];
        let run = Run::new(text, "tile").blocks(2, 128).shared(2 * 72 * 128);
        run.go(&mut [
            Arg::Bytes(&mut a_bytes),
            Arg::Bytes(&mut b_bytes),
            Arg::Bytes(&mut c),
            Arg::U32(k as u32),
        ])
        .map(|summary| (floats(&c), summary))
    };
    for architecture in ["compute_80", "compute_120a"] {
        let Some(text) = ptx(TILE, architecture) else { return };
        let (c, summary) = run_it(&text).unwrap_or_else(|fault| panic!("{architecture}: {fault}"));
        for (at, got) in c.iter().enumerate() {
            let want: f32 = (0..k).map(|i| a[at / 8 * k + i] * b[at % 8 * k + i]).sum();
            assert_eq!(*got, want, "{architecture}, {at}");
        }
        // The swizzle leaves no bank conflict: 16 bytes from each of 32 rows in four wavefronts, of 16 in two.
        let of = |name: &str| {
            summary.by_name.iter().filter(|(n, _)| n.starts_with(name)).map(|(_, count)| count).sum::<u64>()
        };
        let (x4, x2) = (of("ldmatrix.sync.aligned.m8n8.x4"), of("ldmatrix.sync.aligned.m8n8.x2"));
        assert_eq!(summary.shared.wavefronts, 4 * x4 + 2 * x2);
        assert_eq!(of("mma"), (m / 16 * k / 16) as u64);
        let plant = |from: &str, to: &str, nth: usize| {
            let at = text.match_indices(from).nth(nth).unwrap_or_else(|| panic!("{from} in\n{text}")).0;
            format!("{}{to}{}", &text[..at], &text[at + from.len()..])
        };
        use fake_cuda::ptx::fault::Kind::{Asynchronous, Race};
        for (from, to, nth) in [
            ("bar.sync \t0;", ";", 0),
            ("bar.sync \t0;", ";", 1),
            ("cp.async.wait_group 1;", "cp.async.wait_group 2;", 0),
            ("cp.async.wait_group 1;", ";", 0),
        ] {
            let fault = run_it(&plant(from, to, nth)).expect_err("a planted fault");
            // Which of the two comes first is up to the order of the warps.
            let found = matches!(fault.kind, Asynchronous | Race);
            assert!(found, "{architecture}, {from} → {to}: {fault}");
        }
    }
}

/// Prints how fast the machine runs; asserts nothing about time.
#[test]
fn speed() {
    let source = include_str!("../../../kernels/load.cu");
    let Some(text) = ptx(source, "compute_90a") else { return };
    let mut sums = vec![0; 4 * 256 * 4];
    let run = Run::new(&text, "load").blocks(4, 256);
    let start = Instant::now();
    let summary =
        run.go(&mut [Arg::Bytes(&mut sums), Arg::U32(300), Arg::F32(0.5), Arg::F32(1.0)]).expect("no fault");
    let per_second = |summary: &fake_cuda::ptx::machine::counts::Summary, start: Instant| {
        summary.lanes as f64 / start.elapsed().as_secs_f64() / 1e6
    };
    eprintln!("load: {:.0} million lane-instructions/s", per_second(&summary, start));
    let Some(text) = ptx(TILE, "compute_90a") else { return };
    let (m, k) = (1024, 2048);
    let ((_, mut a), (_, mut b), mut c) = (halves(m * k, 13), halves(8 * k, 29), vec![0; m * 32]);
    let run = Run::new(&text, "tile").blocks((m / 64) as u32, 128).shared(2 * 72 * 128);
    let start = Instant::now();
    let args = &mut [Arg::Bytes(&mut a), Arg::Bytes(&mut b), Arg::Bytes(&mut c), Arg::U32(k as u32)];
    let summary = run.go(args).expect("no fault");
    eprintln!("tile: {:.0} million lane-instructions/s", per_second(&summary, start));
}
