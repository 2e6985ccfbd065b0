//! The scheduler over a toy that notices every mix-up.

mod load;
mod rows;
mod serving;
mod soak;
mod toy;
