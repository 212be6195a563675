//! From which sizes on something pays.
//!
//! Many transformations are for large arrays, long loops or long programs only. What tests
//! compute with is small, so with the usual numbers they would reach these paths rarely. Code
//! that is compiled while the environment variable `BACKSTITCH_TINY` is set has numbers that
//! small programs exceed:
//!
//! ```text
//! BACKSTITCH_TINY=1 cargo test -p backstitch --test differential
//! ```
//!
//! Results are the same but for the order in which long reductions are combined, and all that
//! holds of them still has to. Cargo compiles these crates again when the variable changes,
//! and no other crate.

/// Whether thresholds have their tiny numbers.
pub const TINY: bool = option_env!("BACKSTITCH_TINY").is_some();

/// The usual number, or the tiny one where tests are to reach what is behind it.
pub const fn threshold<T: Copy>(usual: T, tiny: T) -> T {
    if TINY { tiny } else { usual }
}
