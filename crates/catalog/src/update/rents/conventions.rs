//! What the columns of each cloud's catalog mean, where that is known; `docs/catalog.md` has the table.
//!
//! SkyPilot's catalogs share one header but not one meaning: the second price repeats the first on `RunPod`, on Mithril
//! both are an auction's lowest bid, on Vast the memory is that of all GPUs. A convention is listed only with evidence
//! (`why`: the fetcher in SkyPilot 0.14.1 or the provider's own list); a cloud without a row is read without assumptions,
//! and an ambiguous row is rejected.

use crate::RentalKind;

/// What it means if `Price` and `SpotPrice` are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Equal {
    /// The on-demand price, written twice.
    OnDemand,
    /// Unknown: the row is rejected.
    Unknown,
}

/// What `SizeInMiB` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// The memory of one GPU.
    Each,
    /// The memory of all GPUs.
    All,
    /// Unknown: both interpretations are tried.
    Unknown,
}

/// How one cloud's rows are read.
#[derive(Debug)]
pub(super) struct Convention {
    /// The provider, by the catalog's name.
    pub(super) cloud: &'static str,
    /// The terms of `Price`.
    pub(super) price: RentalKind,
    /// What equal prices mean.
    pub(super) equal: Equal,
    /// What the memory column measures.
    pub(super) memory: Memory,
    /// The currency of the prices; anything but USD is rejected.
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

/// A cloud whose conventions are unknown.
const UNKNOWN: Convention = Convention {
    cloud: "",
    price: RentalKind::OnDemand,
    equal: Equal::Unknown,
    memory: Memory::Unknown,
    currency: "USD",
    note: None,
    why: "",
};

const EACH: Convention = Convention {
    memory: Memory::Each,
    why: "SizeInMiB of an 8-GPU row is that of one card (skypilot-catalog v8, 2026-11)",
    ..UNKNOWN
};

/// A marketplace, where prices are those of third parties' machines.
const MARKETPLACE: Convention =
    Convention { price: RentalKind::Community, why: "a marketplace of third parties' machines", ..EACH };

const CONVENTIONS: [Convention; 22] = [
    Convention {
        cloud: "aws",
        equal: Equal::OnDemand,
        why: "SkyPilot's fetch_aws.py: Price is the on-demand list price, SpotPrice the spot history, which it bounds from above",
        ..UNKNOWN
    },
    Convention { cloud: "cudo", ..EACH },
    Convention { cloud: "digitalocean", ..EACH },
    Convention { cloud: "hyperbolic", ..MARKETPLACE },
    Convention { cloud: "hyperstack", ..EACH },
    Convention { cloud: "jarvislabs", ..EACH },
    Convention { cloud: "lambda", ..EACH },
    Convention { cloud: "lium", ..MARKETPLACE },
    Convention {
        cloud: "mithril",
        price: RentalKind::Spot,
        note: Some("the lowest bid that its auction accepts"),
        why: "SkyPilot's fetch_mithril.py writes `minimum_price_cents` of an auction into both columns",
        ..EACH
    },
    Convention { cloud: "nebius", ..EACH },
    Convention { cloud: "oci", ..EACH },
    Convention { cloud: "paperspace", ..EACH },
    Convention {
        cloud: "primeintellect",
        memory: Memory::All,
        why: "SizeInMiB of an 8-GPU row is that of all cards (skypilot-catalog v8, 2026-11)",
        ..UNKNOWN
    },
    Convention {
        cloud: "runpod",
        equal: Equal::OnDemand,
        why: "SkyPilot's fetch_runpod.py: Price is RunPod's `securePrice`, without interruption",
        ..EACH
    },
    Convention {
        cloud: "scaleway",
        currency: "EUR",
        why: "Scaleway's API and price list are in euro; the catalog copies the number",
        ..EACH
    },
    Convention {
        cloud: "seeweb",
        currency: "EUR",
        why: "Seeweb's price list is in euro; the catalog copies the API's number",
        ..EACH
    },
    Convention { cloud: "shadeform", ..EACH },
    Convention { cloud: "spheron", ..EACH },
    Convention { cloud: "tensordock", memory: Memory::Unknown, ..MARKETPLACE },
    Convention {
        cloud: "vast",
        price: RentalKind::Community,
        memory: Memory::All,
        note: Some("the median of the hosts' offers"),
        why: "SkyPilot's fetch_vast.py: SizeInMiB is `gpu_total_ram`, Price the median of an instance's offers",
        ..UNKNOWN
    },
    Convention { cloud: "verda", ..EACH },
    Convention { cloud: "yotta", ..EACH },
];

/// The convention of a provider, by the catalog's name.
pub(super) fn for_cloud(provider: &str) -> &'static Convention {
    CONVENTIONS.iter().find(|convention| convention.cloud == provider).unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convention_has_evidence_and_a_row_in_the_docs() {
        let docs = include_str!("../../../../../docs/catalog.md");
        for convention in &CONVENTIONS {
            assert!(!convention.why.is_empty(), "{}", convention.cloud);
            assert!(
                docs.contains(&format!("`{}`", convention.cloud)),
                "{} is not in docs/catalog.md",
                convention.cloud
            );
            assert_eq!(super::super::super::names::provider(convention.cloud), convention.cloud);
        }
        assert_eq!(
            (for_cloud("unlisted").equal, for_cloud("unlisted").memory),
            (Equal::Unknown, Memory::Unknown)
        );
    }
}
