//! The `ekitei` command.
fn main() {}
