//! What holds for one destination: its limits, how fast it is sent to, and whether it can be reached. All of it is pure and kept in the memory
//! of the process that owns the destination's shard.

mod health;
mod pace;
mod rules;

pub(crate) use health::{Block, Health};
pub(crate) use pace::Pace;
pub(crate) use rules::{Rules, warm_up_limit};
