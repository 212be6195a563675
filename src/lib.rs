//! Backstitch.
