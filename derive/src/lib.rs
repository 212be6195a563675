//! Derive macros of Backstitch.
