//! What a launch may ask for on a card, and what fits a multiprocessor at once.

use super::card::{Card, REGISTERS, SHARED_DEFAULT};
use super::code::Code;
use crate::ptx::decode::Kernel;

/// Registers come to a warp in units of this many.
const REGISTER_UNIT: u32 = 256;

/// The shape of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
}

/// What a kernel takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Registers of a thread.
    pub registers: u32,
    pub static_shared: u32,
    /// Most dynamic shared memory that it was allowed.
    pub allowed_shared: u32,
}

impl Needs {
    /// Of a kernel; `told` is what the script says of its registers.
    pub fn of(kernel: &Kernel, told: Option<u32>, allowed_shared: Option<u32>) -> Self {
        // `ptxas` keeps within what a block of the greatest size leaves each thread.
        let most = kernel.max_threads.map_or(255, |threads| {
            let threads: u32 = threads.iter().product();
            (REGISTERS as u32 / threads.next_multiple_of(32).max(32) / 8 * 8).min(255)
        });
        Self {
            registers: told.unwrap_or_else(|| kernel.registers.min(most)),
            static_shared: kernel.static_shared,
            allowed_shared: allowed_shared.unwrap_or(SHARED_DEFAULT as u32 - kernel.static_shared),
        }
    }

    fn registers_of_block(self, threads: u32) -> u32 {
        let warp = (self.registers * 32).next_multiple_of(REGISTER_UNIT);
        warp * threads.div_ceil(32)
    }

    /// Blocks of a multiprocessor at once.
    pub fn resident(self, card: &Card, threads: u32, dynamic_shared: u32) -> u32 {
        let kind = card.kind;
        let by = |have: i32, need: u32| (have as u32).checked_div(need).unwrap_or(u32::MAX);
        let reserved = card.attribute(111).unwrap_or_default() as u32;
        let shared = self.static_shared + dynamic_shared;
        [
            kind.blocks_per_multiprocessor() as u32,
            by(kind.threads_per_multiprocessor(), threads.next_multiple_of(32)),
            by(REGISTERS, self.registers_of_block(threads)),
            by(kind.shared_per_multiprocessor(), if shared + reserved == 0 { 0 } else { shared + reserved }),
        ]
        .into_iter()
        .min()
        .unwrap_or_default()
    }
}

/// Whether a launch is within the card's limits.
///
/// # Errors
/// The driver's code, and a sentence.
pub fn check(card: &Card, kernel: &Kernel, needs: Needs, shape: Shape) -> Result<(), (Code, String)> {
    let invalid = |what: String| Err((Code::INVALID_VALUE, format!("launch of {}: {what}", kernel.name)));
    let [x, y, z] = shape.block;
    let threads = u64::from(x) * u64::from(y) * u64::from(z);
    if x > 1024 || y > 1024 || z > 64 || threads > 1024 || threads == 0 {
        return invalid(format!("a block of {x} × {y} × {z} threads"));
    }
    let [x, y, z] = shape.grid;
    if x > i32::MAX as u32 || y > 65_535 || z > 65_535 || x == 0 || y == 0 || z == 0 {
        return invalid(format!("a grid of {x} × {y} × {z} blocks"));
    }
    let threads = threads as u32;
    if let Some(most) = kernel.max_threads {
        let most_threads: u32 = most.iter().product();
        if threads > most_threads || (kernel.exact_threads && most != shape.block) {
            return invalid(format!("{threads} threads, compiled for {most_threads}"));
        }
    }
    if shape.dynamic_shared > needs.allowed_shared {
        let allowed = needs.allowed_shared;
        return invalid(format!(
            "{} bytes of dynamic shared memory, {allowed} are allowed",
            shape.dynamic_shared
        ));
    }
    let shared = needs.static_shared + shape.dynamic_shared;
    if shared > card.kind.shared_opt_in() as u32 {
        return invalid(format!(
            "{shared} bytes of shared memory, the card has {}",
            card.kind.shared_opt_in()
        ));
    }
    let registers = needs.registers_of_block(threads);
    if registers > REGISTERS as u32 {
        let what = format!("launch of {}: {} registers for {threads} threads", kernel.name, needs.registers);
        return Err((Code::LAUNCH_OUT_OF_RESOURCES, what));
    }
    Ok(())
}
