//! Types and client of the admin API.
