//! `ekitei-operator`.

fn main() {}
