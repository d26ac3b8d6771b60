//! A process, from its start to its end: what lies between it and the stores, and what it is when it has joined the others.

use std::sync::{Arc, Mutex, PoisonError};

use crate::keys::Generation;
use crate::node::Node;
use crate::wire::Wire;

/// A process that was started.
pub struct Process {
    /// What lies between it and everything else.
    pub wire: Arc<Wire>,
    /// The master keys that it was started with.
    pub generation: Generation,
    node: Mutex<Option<Arc<Node>>>,
}

impl Process {
    /// A process that has only just begun.
    pub fn new(wire: Arc<Wire>, generation: Generation) -> Arc<Self> {
        Arc::new(Self { wire, generation, node: Mutex::default() })
    }

    /// It has joined the others, and is at work.
    pub fn begins(&self, node: Arc<Node>) {
        *self.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(node);
    }

    /// What it is, when it has joined the others.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
