//! Every kernel for every kind of GPU, compiled without one: what each takes of a multiprocessor, and whether registers
//! spill to memory.

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::Mutex;

use serde::Serialize;

use super::module::{ATTENTION, LAYER, LOAD, MATRIX, OPTIONS, PEAKS, TENSOR};
use super::{Architecture, Form, Kernel, Nvrtc};

/// Types of matrices that there are kernels for.
pub const MATRIX_TYPES: [&str; 16] = [
    "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K", "MXFP4", "Q2_K",
    "Q3_K", "IQ4_NL", "IQ4_XS",
];
/// Those that there are kernels for tensor cores for.
pub const TENSOR_TYPES: [&str; 11] =
    ["Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q8_0", "MXFP4", "Q4_1", "Q5_0", "Q5_1", "F16", "BF16"];
/// Head sizes of the models in the catalog, and the largest that there may be.
const HEAD_SIZES: [u32; 6] = [64, 80, 96, 128, 256, 512];
/// Those of caches in `q8_0`, whose blocks have 32 elements.
const EIGHT_BIT_BLOCK: u32 = 32;
/// Generations that are surveyed when none is named: A100, RTX 3090, L4 and RTX 4090, H100, B200, RTX 5090.
pub const GENERATIONS: [Architecture; 6] = [
    Architecture { major: 8, minor: 0 },
    Architecture { major: 8, minor: 6 },
    Architecture { major: 8, minor: 9 },
    Architecture { major: 9, minor: 0 },
    Architecture { major: 10, minor: 0 },
    Architecture { major: 12, minor: 0 },
];

/// A kernel on one kind of GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The function.
    pub kernel: String,
    /// What its file was compiled for: a tensor type, or a head size and a cache.
    pub variant: String,
    /// `sm_90a`.
    pub architecture: String,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes that a thread stores to memory for want of registers.
    pub spill_store_bytes: u32,
    /// Bytes that it loads again.
    pub spill_load_bytes: u32,
    /// Shared memory of a block.
    pub shared_bytes: u32,
    /// Blocks that fit a multiprocessor.
    pub blocks_per_multiprocessor: u32,
}

impl Entry {
    /// Whether registers spill.
    pub fn spills(&self) -> bool {
        self.spill_store_bytes + self.spill_load_bytes > 0
    }
}

/// What a file is compiled for.
struct Variant {
    kernel: Kernel,
    defines: Vec<String>,
    name: String,
    /// Of a block, in most launches.
    threads: u32,
}

/// Threads of a block of the kernels that multiply on tensor cores, of some by name, and of all others.
const TENSOR_THREADS: u32 = 256;
const THREADS_OF: [(&str, u32); 5] =
    [("attend", 256), ("halve", 512), ("norm_halve", 512), ("activate_halve", 512), ("combine_halve", 512)];
const THREADS: u32 = 128;

fn variants() -> Vec<Variant> {
    let matrices = MATRIX_TYPES.map(|kind| Variant {
        kernel: MATRIX,
        defines: vec![format!("-DKIND={kind}")],
        name: kind.to_owned(),
        threads: THREADS,
    });
    let tensor = TENSOR_TYPES.map(|kind| Variant {
        kernel: TENSOR,
        defines: vec![format!("-DKIND={kind}")],
        name: format!("{kind} tensor"),
        threads: TENSOR_THREADS,
    });
    let caches = HEAD_SIZES.into_iter().flat_map(|head| [(head, 0), (head, 1)]);
    let caches = caches.filter(|(head, eight_bits)| *eight_bits == 0 || head % EIGHT_BIT_BLOCK == 0);
    let attention = caches.map(|(head, eight_bits)| Variant {
        kernel: ATTENTION,
        defines: vec![format!("-DHEAD={head}"), format!("-DEIGHT_BITS={eight_bits}")],
        name: format!("head {head} {}", if eight_bits == 1 { "q8_0" } else { "f16" }),
        threads: THREADS,
    });
    let plain = |kernel| Variant { kernel, defines: Vec::new(), name: String::new(), threads: THREADS };
    matrices
        .into_iter()
        .chain(tensor)
        .chain(attention)
        .chain([plain(LAYER), plain(LOAD), plain(PEAKS)])
        .collect()
}

/// Compiles every kernel for these architectures, several at a time.
///
/// # Errors
/// What the compiler says of the first that it refuses.
pub fn survey(nvrtc: &Nvrtc, architectures: &[Architecture]) -> Result<Vec<Entry>, String> {
    let variants = variants();
    let jobs = architectures.iter().flat_map(|arch| variants.iter().map(move |variant| (*arch, variant)));
    let queue: Mutex<VecDeque<_>> = Mutex::new(jobs.enumerate().collect());
    let next = || queue.lock().map_or(None, |mut queue| queue.pop_front());
    let work = || {
        let mut done = Vec::new();
        while let Some((number, (architecture, variant))) = next() {
            done.push((number, compile(nvrtc, architecture, variant)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect::<Vec<_>>()
    });
    all.sort_by_key(|(number, _)| *number);
    let entries: Result<Vec<Vec<Entry>>, String> = all.into_iter().map(|(_, entries)| entries).collect();
    Ok(entries?.concat())
}

fn compile(nvrtc: &Nvrtc, architecture: Architecture, variant: &Variant) -> Result<Vec<Entry>, String> {
    let options: Vec<&str> =
        OPTIONS.iter().copied().chain(variant.defines.iter().map(String::as_str)).collect();
    let compiled = nvrtc.compile(variant.kernel, &options, architecture, Form::Cubin)?;
    let found = entries(&compiled.log, variant, architecture);
    if found.is_empty() {
        return Err(format!(
            "{} for {architecture}: the compiler's log names no kernel: {}",
            variant.kernel.name, compiled.log
        ));
    }
    Ok(found)
}

/// The kernels of a log that `--ptxas-options=-v` wrote.
fn entries(log: &str, variant: &Variant, architecture: Architecture) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    for line in log.lines() {
        if let Some(name) =
            line.split("Compiling entry function '").nth(1).and_then(|rest| rest.split('\'').next())
        {
            found.push(Entry {
                kernel: name.to_owned(),
                variant: variant.name.clone(),
                architecture: architecture.to_string(),
                registers: 0,
                spill_store_bytes: 0,
                spill_load_bytes: 0,
                shared_bytes: 0,
                blocks_per_multiprocessor: 0,
            });
        }
        let Some(entry) = found.last_mut() else { continue };
        if let Some(bytes) = before(line, " bytes spill stores") {
            entry.spill_store_bytes = bytes;
        }
        if let Some(bytes) = before(line, " bytes spill loads") {
            entry.spill_load_bytes = bytes;
        }
        if let Some(registers) = before(line, " registers") {
            entry.registers = registers;
            entry.shared_bytes = before(line, " bytes smem").unwrap_or(0);
            let of_kernel = THREADS_OF.iter().find(|(kernel, _)| *kernel == entry.kernel);
            let threads = of_kernel.map_or(variant.threads, |(_, threads)| *threads);
            entry.blocks_per_multiprocessor = blocks(architecture, threads, registers, entry.shared_bytes);
        }
    }
    found
}

/// The number right before `unit`.
fn before(line: &str, unit: &str) -> Option<u32> {
    line.split_once(unit)?.0.rsplit([' ', ',']).next()?.parse().ok()
}

/// Blocks of so many threads that are resident at once: registers are given to warps in units of 256, shared memory in units of
/// 128 bytes with 1 KiB for the system (CUDA C++ Programming Guide, "Compute Capabilities").
fn blocks(architecture: Architecture, of_block: u32, registers: u32, shared_bytes: u32) -> u32 {
    const REGISTERS: u32 = 65_536;
    let (threads, shared_kib, most) = match (architecture.major, architecture.minor) {
        (8, 0) => (2048, 164, 32),
        (8, 7) => (1536, 164, 16),
        (8, 9) => (1536, 100, 24),
        (8, _) => (1536, 100, 16),
        (9 | 10, _) => (2048, 228, 32),
        _ => (1536, 100, 24),
    };
    let of_warp = (registers.max(1) * 32).next_multiple_of(256);
    let by_registers = REGISTERS / of_warp / (of_block / 32);
    let by_shared = shared_kib * 1024 / (shared_bytes.next_multiple_of(128) + 1024);
    by_registers.min(by_shared).min(threads / of_block).min(most)
}

impl FromStr for Architecture {
    type Err = String;

    /// `sm_90a`, `sm_90`, `90` or `9.0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text
            .trim_start_matches("sm_")
            .trim_end_matches(['a', 'f'])
            .chars()
            .filter(|c| *c != '.')
            .collect();
        let wrong = || format!("`{text}`: expected compute capability 8.0 or higher, such as sm_90a or 9.0");
        let number: u32 = digits.parse().map_err(|_| wrong())?;
        let found = Self { major: number / 10, minor: number % 10 };
        if (8..100).contains(&found.major) { Ok(found) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_is_read_in_every_spelling() {
        for (text, major, minor) in
            [("sm_90a", 9, 0), ("sm_80", 8, 0), ("8.9", 8, 9), ("120", 12, 0), ("sm_100f", 10, 0)]
        {
            assert_eq!(text.parse(), Ok(Architecture { major, minor }), "{text}");
        }
        for text in ["", "h100", "sm_75", "7.5", "-9"] {
            assert!(text.parse::<Architecture>().is_err(), "{text}");
        }
    }

    /// The compiler's own words (NVRTC 13.0), with the numbers changed.
    #[test]
    fn a_log_is_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'multiply_one' for 'sm_90a'\n\
            ptxas info    : Function properties for multiply_one\n    \
            0 bytes stack frame, 16 bytes spill stores, 20 bytes spill loads\n\
            ptxas info    : Used 40 registers, used 1 barriers, 1536 bytes smem\n\
            ptxas info    : Compiling entry function 'embed' for 'sm_90a'\n    \
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 255 registers";
        let variant = Variant { kernel: MATRIX, defines: Vec::new(), name: "Q4_0".to_owned(), threads: 128 };
        let found = entries(log, &variant, Architecture { major: 9, minor: 0 });
        let [one, embed] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*one.kernel, one.registers, one.shared_bytes), ("multiply_one", 40, 1536));
        assert_eq!((one.spill_store_bytes, one.spill_load_bytes, one.spills()), (16, 20, true));
        // By hand: 65,536 / (40 · 32 = 1,280 → 1,280) / 4 = 12; 255 registers are 8,192 a warp: 2.
        assert_eq!([one.blocks_per_multiprocessor, embed.blocks_per_multiprocessor], [12, 2]);
        assert!(!embed.spills());
    }

    #[test]
    fn every_kernel_compiles_for_every_generation_without_spills() {
        let Some(nvrtc) = super::super::testing::nvrtc() else { return };
        // The oldest, the main and the newest; `bench kernels check` takes all.
        let generations = [GENERATIONS[0], GENERATIONS[3], GENERATIONS[5]];
        let found = survey(&nvrtc, &generations).expect("compiled");
        assert!(found.len() > 100, "{}", found.len());
        for entry in &found {
            assert!(!entry.spills() && entry.registers > 0, "{entry:?}");
            assert!(entry.blocks_per_multiprocessor > 0, "{entry:?}");
        }
        let unknown = nvrtc.compile(MATRIX, &["-DKIND=IQ2_S"], GENERATIONS[3], Form::Cubin);
        let unknown = unknown.expect_err("no such kernel");
        assert!(unknown.contains("unsupported KIND"), "{unknown}");
    }
}
