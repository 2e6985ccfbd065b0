//! What each cloud's catalog means by its columns, where that is known; `docs/catalog.md` prints the table.
//!
//! SkyPilot's catalogs have one header and several meanings: the second price repeats the first on `RunPod`, on Mithril
//! both are an auction's lowest bid, on Vast the memory is that of all GPUs. A habit stands here only with its evidence
//! (`why`: the fetcher in SkyPilot 0.14.1 or the provider's own list); a cloud without a row is read without assumptions,
//! and what then has two meanings is refused.

use crate::RentalKind;

/// What equal prices in `Price` and `SpotPrice` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equal {
    /// The price on demand, written twice.
    OnDemand,
    /// Not known: the row is refused.
    Unknown,
}

/// Whose memory `SizeInMiB` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// One GPU's.
    Each,
    /// All GPUs'.
    All,
    /// Either: both readings are tried.
    Unknown,
}

/// How one cloud's rows are read.
#[derive(Debug)]
pub(super) struct Habit {
    /// The provider, in the catalog's word.
    pub(super) cloud: &'static str,
    /// The terms of `Price`.
    pub(super) price: RentalKind,
    /// What equal prices are.
    pub(super) equal: Equal,
    /// Whose memory is given.
    pub(super) memory: Memory,
    /// The currency of the prices; any but USD is refused.
    pub(super) currency: &'static str,
    /// What a reader of a SkyPilot price should know.
    pub(super) note: Option<&'static str>,
    /// How that is known.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "evidence for readers, and a test that each row has some")
    )]
    pub(super) why: &'static str,
}

/// A cloud about which nothing is known.
const UNKNOWN: Habit = Habit {
    cloud: "",
    price: RentalKind::OnDemand,
    equal: Equal::Unknown,
    memory: Memory::Unknown,
    currency: "USD",
    note: None,
    why: "",
};

const EACH: Habit = Habit {
    memory: Memory::Each,
    why: "SizeInMiB of an 8-GPU row is that of one card (skypilot-catalog v8, 2026-11)",
    ..UNKNOWN
};

const HABITS: [Habit; 22] = [
    Habit {
        cloud: "aws",
        equal: Equal::OnDemand,
        why: "SkyPilot's fetch_aws.py: Price is of the list on demand, SpotPrice of the spot history, which has it as its most",
        ..UNKNOWN
    },
    Habit { cloud: "cudo", ..EACH },
    Habit { cloud: "digitalocean", ..EACH },
    Habit {
        cloud: "hyperbolic",
        price: RentalKind::Community,
        why: "a marketplace of third parties' machines",
        ..EACH
    },
    Habit { cloud: "hyperstack", ..EACH },
    Habit { cloud: "jarvislabs", ..EACH },
    Habit { cloud: "lambda", ..EACH },
    Habit {
        cloud: "lium",
        price: RentalKind::Community,
        why: "a marketplace of third parties' machines",
        ..EACH
    },
    Habit {
        cloud: "mithril",
        price: RentalKind::Spot,
        note: Some("the lowest bid that its auction takes"),
        why: "SkyPilot's fetch_mithril.py writes `minimum_price_cents` of an auction into both columns",
        ..EACH
    },
    Habit { cloud: "nebius", ..EACH },
    Habit { cloud: "oci", ..EACH },
    Habit { cloud: "paperspace", ..EACH },
    Habit {
        cloud: "primeintellect",
        memory: Memory::All,
        why: "SizeInMiB of an 8-GPU row is that of all cards (skypilot-catalog v8, 2026-11)",
        ..UNKNOWN
    },
    Habit {
        cloud: "runpod",
        equal: Equal::OnDemand,
        why: "SkyPilot's fetch_runpod.py: Price is RunPod's `securePrice`, without interruption",
        ..EACH
    },
    Habit {
        cloud: "scaleway",
        currency: "EUR",
        why: "Scaleway's API and price list are in euro; the catalog copies the number",
        ..EACH
    },
    Habit {
        cloud: "seeweb",
        currency: "EUR",
        why: "Seeweb's price list is in euro; the catalog copies the API's number",
        ..EACH
    },
    Habit { cloud: "shadeform", ..EACH },
    Habit { cloud: "spheron", ..EACH },
    Habit {
        cloud: "tensordock",
        price: RentalKind::Community,
        why: "a marketplace of third parties' machines",
        ..UNKNOWN
    },
    Habit {
        cloud: "vast",
        price: RentalKind::Community,
        memory: Memory::All,
        note: Some("the median of the hosts' offers"),
        why: "SkyPilot's fetch_vast.py: SizeInMiB is `gpu_total_ram`, Price the median of an instance's offers",
        ..UNKNOWN
    },
    Habit { cloud: "verda", ..EACH },
    Habit { cloud: "yotta", ..EACH },
];

/// The habit of a provider in the catalog's word.
pub(super) fn of(provider: &str) -> &'static Habit {
    HABITS.iter().find(|habit| habit.cloud == provider).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_habit_has_evidence_and_a_row_in_the_docs() {
        let docs = include_str!("../../../../../docs/catalog.md");
        for habit in &HABITS {
            assert!(!habit.why.is_empty(), "{}", habit.cloud);
            assert!(
                docs.contains(&format!("`{}`", habit.cloud)),
                "{} is not in docs/catalog.md",
                habit.cloud
            );
            assert_eq!(super::super::super::names::provider(habit.cloud), habit.cloud);
        }
        assert_eq!((of("nobody").equal, of("nobody").memory), (Equal::Unknown, Memory::Unknown));
    }
}
