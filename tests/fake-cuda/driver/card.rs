//! The cards that it can pretend to be: figures of real ones, as the driver gives them.
//!
//! Limits by compute capability are those of NVIDIA's "CUDA C++ Programming Guide", table "Technical
//! Specifications per Compute Capability"; multiprocessors and memory those of the products.

/// A kind of card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub id: &'static str,
    pub name: &'static str,
    pub capability: (i32, i32),
    pub multiprocessors: i32,
    pub memory: u64,
    /// kHz of the multiprocessors and of the memory, bits of the bus.
    pub clock: i32,
    pub memory_clock: i32,
    pub bus: i32,
    pub l2: i32,
}

const MIB: u64 = 1 << 20;

/// Every kind.
pub const KINDS: &[Kind] = &[
    Kind {
        id: "t4",
        name: "Tesla T4",
        capability: (7, 5),
        multiprocessors: 40,
        memory: 15_102 * MIB,
        clock: 1_590_000,
        memory_clock: 5_001_000,
        bus: 256,
        l2: 4 << 20,
    },
    Kind {
        id: "a100-sxm4-80gb",
        name: "NVIDIA A100-SXM4-80GB",
        capability: (8, 0),
        multiprocessors: 108,
        memory: 81_154 * MIB,
        clock: 1_410_000,
        memory_clock: 1_593_000,
        bus: 5120,
        l2: 40 << 20,
    },
    Kind {
        id: "rtx-3090",
        name: "NVIDIA GeForce RTX 3090",
        capability: (8, 6),
        multiprocessors: 82,
        memory: 24_259 * MIB,
        clock: 1_695_000,
        memory_clock: 9_751_000,
        bus: 384,
        l2: 6 << 20,
    },
    Kind {
        id: "l4",
        name: "NVIDIA L4",
        capability: (8, 9),
        multiprocessors: 58,
        memory: 22_491 * MIB,
        clock: 2_040_000,
        memory_clock: 6_251_000,
        bus: 192,
        l2: 48 << 20,
    },
    Kind {
        id: "rtx-4090",
        name: "NVIDIA GeForce RTX 4090",
        capability: (8, 9),
        multiprocessors: 128,
        memory: 24_081 * MIB,
        clock: 2_520_000,
        memory_clock: 10_501_000,
        bus: 384,
        l2: 72 << 20,
    },
    Kind {
        id: "h100-sxm5-80gb",
        name: "NVIDIA H100 80GB HBM3",
        capability: (9, 0),
        multiprocessors: 132,
        memory: 81_105 * MIB,
        clock: 1_980_000,
        memory_clock: 2_619_000,
        bus: 5120,
        l2: 50 << 20,
    },
    Kind {
        id: "h200-sxm-141gb",
        name: "NVIDIA H200",
        capability: (9, 0),
        multiprocessors: 132,
        memory: 143_156 * MIB,
        clock: 1_980_000,
        memory_clock: 3_201_000,
        bus: 6144,
        l2: 60 << 20,
    },
    Kind {
        id: "b200-sxm-180gb",
        name: "NVIDIA B200",
        capability: (10, 0),
        multiprocessors: 148,
        memory: 182_640 * MIB,
        clock: 1_965_000,
        memory_clock: 3_996_000,
        bus: 8192,
        l2: 126 << 20,
    },
    Kind {
        id: "rtx-5090",
        name: "NVIDIA GeForce RTX 5090",
        capability: (12, 0),
        multiprocessors: 170,
        memory: 32_109 * MIB,
        clock: 2_407_000,
        memory_clock: 14_001_000,
        bus: 512,
        l2: 96 << 20,
    },
];

impl Kind {
    pub fn named(id: &str) -> Option<Self> {
        KINDS.iter().find(|kind| kind.id == id).copied()
    }

    /// Bytes of shared memory that a block may have when it asks for them.
    pub fn shared_opt_in(self) -> i32 {
        match self.capability {
            (7, 5) => 64 << 10,
            (8, 0) => 163 << 10,
            (8, _) | (12, _) => 99 << 10,
            _ => 227 << 10,
        }
    }

    /// Bytes of shared memory of a multiprocessor: each block takes one KiB more than it asks for.
    pub fn shared_per_multiprocessor(self) -> i32 {
        if self.capability == (7, 5) { 64 << 10 } else { self.shared_opt_in() + 1024 }
    }

    pub fn threads_per_multiprocessor(self) -> i32 {
        match self.capability {
            (7, 5) => 1024,
            (8, 6 | 9) | (12, _) => 1536,
            _ => 2048,
        }
    }

    pub fn blocks_per_multiprocessor(self) -> i32 {
        match self.capability {
            (7, 5) | (8, 6) => 16,
            (8, 9) | (12, _) => 24,
            _ => 32,
        }
    }
}

/// Bytes of shared memory that a block has without asking.
pub const SHARED_DEFAULT: i32 = 48 << 10;
/// Registers of a multiprocessor, and the most of a block.
pub const REGISTERS: i32 = 65_536;

/// A card in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub kind: Kind,
    pub uuid: [u8; 16],
    /// Domain, bus, device.
    pub pci: (u32, u32, u32),
    pub memory: u64,
    pub multiprocessors: i32,
}

impl Card {
    /// A figure by the driver's number for it; `None` for what a driver of this age does not know.
    pub fn attribute(&self, which: i32) -> Option<i32> {
        let kind = self.kind;
        Some(match which {
            1..=3 => 1024,
            4 => 64,
            5 => i32::MAX,
            6 | 7 => 65_535,
            8 => SHARED_DEFAULT,
            9 => 65_536,
            10 => 32,
            11 => i32::MAX,
            12 | 82 => REGISTERS,
            13 => kind.clock,
            14 => 512,
            // Copies while kernels run, mapped host memory, streams at once, one address space.
            15 | 19 | 31 | 41 => 1,
            16 => self.multiprocessors,
            // No time limit, not integrated, default compute mode.
            17 | 18 | 20 => 0,
            32 => i32::from(kind.name.contains("HBM") || kind.bus > 1000),
            33 => self.pci.1.cast_signed(),
            34 => self.pci.2.cast_signed(),
            50 => self.pci.0.cast_signed(),
            35 => 0,
            36 => kind.memory_clock,
            37 => kind.bus,
            38 => kind.l2,
            39 => kind.threads_per_multiprocessor(),
            40 => 3,
            75 => kind.capability.0,
            76 => kind.capability.1,
            78..=80 | 83 | 95 | 99 | 102 | 115 => 1,
            81 => kind.shared_per_multiprocessor(),
            84 | 88 | 89 | 96 | 100 | 101 => 0,
            90 => 1,
            97 => kind.shared_opt_in(),
            106 => kind.blocks_per_multiprocessor(),
            108 => kind.l2 / 4 * 3,
            111 => {
                if kind.capability.0 >= 8 {
                    1024
                } else {
                    0
                }
            }
            21..=30
            | 42..=49
            | 51..=74
            | 77
            | 85..=87
            | 91..=94
            | 98
            | 103..=105
            | 107
            | 109..=110
            | 112..=114
            | 116..=119 => 0,
            _ => return None,
        })
    }
}
