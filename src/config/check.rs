//! Rules between keys that are each valid alone.

use crate::{Config, Problem};

/// All problems of `config`, in the order of the sections.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.listeners.is_empty() {
        problems.push(Problem::warning("listeners", None, "no listener: nothing is served"));
    }
    problems
}
