//! Ekitei: a clustered mail service.
