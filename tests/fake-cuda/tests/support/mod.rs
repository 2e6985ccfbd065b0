//! What the tests of the machine share: a kernel's text in, its effect on buffers out.
#![allow(dead_code, reason = "shared by test executables that each use a part of it")]
#![allow(clippy::undocumented_unsafe_blocks, reason = "tests call a C library as its manual says")]

pub mod driver;
pub mod nvrtc;

use fake_cuda::ptx::decode::{Kernel, decode};
use fake_cuda::ptx::fault::Fault;
use fake_cuda::ptx::machine::counts::Summary;
use fake_cuda::ptx::machine::memory::{Region, Regions};
use fake_cuda::ptx::machine::{Launch, Options, run};
use fake_cuda::ptx::parse::parse;

/// An argument of a kernel.
pub enum Arg<'a> {
    /// A buffer of device memory.
    Bytes(&'a mut [u8]),
    U32(u32),
    F32(f32),
    U64(u64),
    /// A structure by value.
    Struct(&'a [u8]),
}

/// A kernel and how it is launched.
pub struct Run {
    pub kernel: Kernel,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub options: Options,
    /// Variables of the module, from [`GLOBALS`] on.
    globals: Vec<u8>,
}

const GLOBALS: u64 = 0x6_0000_0000;

impl Run {
    /// The kernel `name` of a PTX text, one block of 32 threads.
    pub fn new(ptx: &str, name: &str) -> Self {
        let module = parse(ptx).unwrap_or_else(|refusal| panic!("{refusal}\n{}", numbered(ptx)));
        let (mut globals, mut places) = (Vec::new(), Vec::new());
        for global in &module.globals {
            globals.resize(globals.len().next_multiple_of(16), 0);
            places.push((global.name.clone(), GLOBALS + globals.len() as u64));
            let end = globals.len() + global.size as usize;
            globals.extend(&global.bytes);
            globals.resize(end, 0);
        }
        let address = |name: &str| places.iter().find(|(known, _)| known == name).map(|(_, place)| *place);
        let kernel =
            decode(&module, name, &address).unwrap_or_else(|refusal| panic!("{refusal}\n{}", numbered(ptx)));
        Self {
            globals,
            kernel,
            grid: [1; 3],
            block: [32, 1, 1],
            dynamic_shared: 0,
            options: Options::default(),
        }
    }

    pub fn blocks(mut self, grid: u32, block: u32) -> Self {
        (self.grid, self.block) = ([grid, 1, 1], [block, 1, 1]);
        self
    }

    pub fn shared(mut self, bytes: u32) -> Self {
        self.dynamic_shared = bytes;
        self
    }

    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// Runs it with these arguments.
    pub fn go(&self, args: &mut [Arg<'_>]) -> Result<Summary, Fault> {
        let mut parameters = vec![0; self.kernel.parameter_bytes as usize];
        let mut globals = self.globals.clone();
        let mut regions =
            vec![Region { start: GLOBALS, size: globals.len() as u64, host: globals.as_mut_ptr() }];
        assert_eq!(args.len(), self.kernel.parameters.len(), "arguments of {}", self.kernel.name);
        for (n, (arg, place)) in args.iter_mut().zip(&self.kernel.parameters).enumerate() {
            let (offset, size) = (place.offset as usize, place.size as usize);
            let value = match arg {
                Arg::Struct(bytes) => {
                    parameters[offset..offset + size].copy_from_slice(bytes);
                    continue;
                }
                Arg::Bytes(bytes) => {
                    let start = 0x7_0000_0000 + ((n as u64) << 24);
                    regions.push(Region { start, size: bytes.len() as u64, host: bytes.as_mut_ptr() });
                    start.to_le_bytes()
                }
                Arg::U32(value) => u64::from(*value).to_le_bytes(),
                Arg::F32(value) => u64::from(value.to_bits()).to_le_bytes(),
                Arg::U64(value) => value.to_le_bytes(),
            };
            parameters[offset..offset + size].copy_from_slice(&value[..size]);
        }
        let launch = Launch {
            kernel: &self.kernel,
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.dynamic_shared,
            parameters: &parameters,
            multiprocessors: 132,
        };
        run(&launch, &Regions::new(regions), self.options).map(|counts| counts.summary(&self.kernel))
    }
}

fn numbered(text: &str) -> String {
    text.lines().enumerate().map(|(n, line)| format!("{:4} {line}\n", n + 1)).collect()
}

/// A whole kernel `k(a, b, c, out)` around a body, for `threads` threads: `%r1`, `%r2`, `%r3` hold this thread's
/// words of the first three buffers, `%l1`, `%l2`, `%l3` its two words of them at twice the place, and `%r0` and
/// `%l0` are stored.
pub fn around(body: &str) -> String {
    format!(
        ".version 8.7\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 pa, .param .u64 pb, \
         .param .u64 pc, .param .u64 po)\n{{\n.reg .pred %p<9>;\n.reg .b16 %h<9>;\n.reg .b32 %r<40>;\n\
         .reg .b64 %l<20>;\n.shared .align 16 .b8 room[4096];\n\
         ld.param.u64 %l11, [pa]; ld.param.u64 %l12, [pb]; ld.param.u64 %l13, [pc]; ld.param.u64 %l14, [po];\n\
         mov.u32 %r9, %tid.x;\n\
         mul.wide.u32 %l15, %r9, 8;\n\
         add.s64 %l11, %l11, %l15; add.s64 %l12, %l12, %l15; add.s64 %l13, %l13, %l15;\n\
         mul.wide.u32 %l15, %r9, 16; add.s64 %l14, %l14, %l15;\n\
         ld.global.u64 %l1, [%l11]; ld.global.u64 %l2, [%l12]; ld.global.u64 %l3, [%l13];\n\
         ld.global.u32 %r1, [%l11]; ld.global.u32 %r2, [%l12]; ld.global.u32 %r3, [%l13];\n\
         cvt.u16.u32 %h1, %r1; cvt.u16.u32 %h2, %r2; cvt.u16.u32 %h3, %r3;\n\
         mov.u32 %r0, 0; mov.u64 %l0, 0;\n\
         {body}\n\
         st.global.u32 [%l14], %r0; st.global.u64 [%l14+8], %l0;\nret;\n}}\n"
    )
}

/// Values with corners among them.
pub fn values(seed: u64, count: usize) -> Vec<u64> {
    const CORNERS: [u32; 24] = [
        0,
        1,
        2,
        31,
        32,
        33,
        63,
        64,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x3f80_0000,
        0xbf80_0000,
        0x7f80_0000,
        0x7fc0_0000,
        0x0000_0001,
        0x3c00_3c00,
        0x0400_8001,
    ];
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33 ^ state << 17
    };
    (0..count)
        .map(|_| {
            let (pick, random) = (next(), next());
            match pick % 4 {
                0 => u64::from(CORNERS[random as usize % CORNERS.len()]) | random << 40 << 8,
                // Floats of usual size.
                1 => {
                    let word = |r: u64| (0x3000_0000 + (r as u32 & 0x1fff_ffff)) | (r as u32 & 0x8000_0000);
                    u64::from(word(random)) | u64::from(word(random >> 7)) << 32
                }
                _ => random,
            }
        })
        .collect()
}

/// Runs a body on many values and compares `%r0` and `%l0` of each thread with what `want` says.
pub fn check(body: &str, want: impl Fn(u64, u64, u64) -> (u32, u64)) {
    let count = 256;
    let (a, b, c) = (values(1, count), values(2, count), values(3, count));
    let out = execute(body, [&a, &b, &c]).unwrap_or_else(|fault| panic!("{body}: {fault}"));
    for n in 0..count {
        let wanted = want(a[n], b[n], c[n]);
        let got = out[n];
        assert_eq!(
            got, wanted,
            "{body}\nof {:#x}, {:#x}, {:#x}: {got:#x?}, not {wanted:#x?}",
            a[n], b[n], c[n]
        );
    }
}

/// Runs a body with a thread for each value, in blocks of 32 lanes.
pub fn execute(body: &str, inputs: [&[u64]; 3]) -> Result<Vec<(u32, u64)>, Fault> {
    let count = inputs[0].len();
    let run = Run::new(&around(body), "k").blocks(1, count as u32);
    let mut buffers =
        inputs.map(|values| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
    let mut out = vec![0; count * 16];
    let [a, b, c] = &mut buffers;
    run.go(&mut [Arg::Bytes(a), Arg::Bytes(b), Arg::Bytes(c), Arg::Bytes(&mut out)])?;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Ok(out.chunks_exact(16).map(|of| (word(&of[..4]) as u32, word(&of[8..]))).collect())
}

/// Bytes of words, and back.
pub fn bytes_of<T: Copy, const N: usize>(all: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    all.iter().flat_map(|value| bytes(*value)).collect()
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

pub fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
