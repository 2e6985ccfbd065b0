//! What tests of this room share.

use super::{Kind, Nvrtc, Places};
use crate::base::env;

/// NVRTC, or `None` with a word on how to get it; under `CI=true` its absence is a failure.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
pub(super) fn nvrtc() -> Option<Nvrtc> {
    if let Some(library) = Places::here().find(Kind::Nvrtc, None) {
        return Some(Nvrtc::open(&library).expect("an NVRTC that was found opens"));
    }
    assert!(!env::is_ci(), "CI needs NVRTC: scripts/fetch-nvrtc");
    eprintln!("skipped: NVRTC is not here; get it with scripts/fetch-nvrtc");
    None
}
