//! The target: which processor, with which settings.
//!
//! Targets are built once per process and shared. There are two of each,
//! because Cranelift chooses its register allocator by target: backtracking for
//! good code, single-pass for long functions, on which backtracking takes time
//! quadratic in the length. The mid-end optimiser is off: plans come optimised,
//! and on long straight-line code it stretches live ranges and costs seconds.

use std::sync::OnceLock;

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable, Flags};

use crate::error::JitError;
use crate::wide::Encoding;

/// Which processor to make code for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Cpu {
    /// This one, with all its extensions.
    #[default]
    Host,
    /// The oldest of this architecture. Same bits, slower.
    Baseline,
}

/// How wide the vectors of kernels may be. What comes out is the same, bit by bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Vectors {
    /// As wide as the processor's, where that can be had: AVX-512 or AVX2 on x86-64 with
    /// System V's calling convention.
    #[default]
    Widest,
    /// AVX2, if the processor has it.
    Bits256,
    /// Cranelift's.
    Bits128,
}

impl Vectors {
    /// The encoding of vector code of our own for this processor, if there is to be any.
    pub(crate) fn encoding(self, cpu: Cpu) -> Option<Encoding> {
        if self == Self::Bits128 || cpu == Cpu::Baseline {
            return None;
        }
        let best = native();
        match self {
            Self::Bits256 => best.map(|_| Encoding::Vex),
            _ => best,
        }
    }
}

#[cfg(all(target_arch = "x86_64", unix))]
fn native() -> Option<Encoding> {
    macro_rules! has {
        ($($feature:tt),*) => { $(std::arch::is_x86_feature_detected!($feature))&&* };
    }
    if !has!("avx2", "fma", "bmi2") {
        None
    } else if has!("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd") {
        Some(Encoding::Evex)
    } else {
        Some(Encoding::Vex)
    }
}

#[cfg(not(all(target_arch = "x86_64", unix)))]
fn native() -> Option<Encoding> {
    None
}

/// Which register allocator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Allocator {
    Backtracking,
    SinglePass,
}

/// What instructions there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    /// Fused multiply-add.
    pub fma: bool,
    /// Rounding to integers.
    pub round: bool,
    /// Choosing lanes by the top bit of a mask.
    pub blend: bool,
    /// Memory operands of vector instructions at any address. Without this,
    /// loads have to be instructions of their own: Cranelift folds some into
    /// instructions (SSE comparisons) that fault on unaligned addresses.
    pub unaligned: bool,
}

impl Features {
    pub fn of(isa: &OwnedTargetIsa) -> Self {
        let has =
            |name| isa.isa_flags().iter().any(|f| f.name == name && f.as_bool() == Some(true));
        if cfg!(target_arch = "x86_64") {
            Self {
                fma: has("has_fma"),
                round: has("has_sse41"),
                blend: has("has_sse41"),
                unaligned: has("has_avx"),
            }
        } else {
            Self { fma: true, round: true, blend: false, unaligned: true }
        }
    }
}

/// The target for these choices.
pub(crate) fn target(cpu: Cpu, allocator: Allocator) -> Result<OwnedTargetIsa, JitError> {
    static TARGETS: [OnceLock<Result<OwnedTargetIsa, String>>; 4] = [const { OnceLock::new() }; 4];
    let row = usize::from(cpu == Cpu::Baseline);
    let column = usize::from(allocator == Allocator::SinglePass);
    TARGETS[2 * row + column].get_or_init(|| build(cpu, allocator)).clone().map_err(JitError::Host)
}

fn build(cpu: Cpu, allocator: Allocator) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let choices = [
        ("opt_level", "none"),
        (
            "regalloc_algorithm",
            match allocator {
                Allocator::Backtracking => "backtracking",
                Allocator::SinglePass => "single_pass",
            },
        ),
        ("is_pic", "false"),
        ("unwind_info", "false"),
        ("enable_verifier", "false"),
        ("use_colocated_libcalls", "false"),
        // A large frame must not call a probe that nobody has linked.
        ("probestack_strategy", "inline"),
    ];
    for (name, value) in choices {
        flags.set(name, value).map_err(|e| format!("setting {name}: {e}"))?;
    }
    cranelift_native::builder_with_options(cpu == Cpu::Host)?
        .finish(Flags::new(flags))
        .map_err(|e| e.to_string())
}
