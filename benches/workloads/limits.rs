//! What the machine can do at most, measured: how long a program takes at the least.
//!
//! A program reads its inputs and writes its outputs once, whatever it is made of. Bytes
//! come and go as fast as probes of the same size do that only read or only write, with as
//! many threads: arrays are in the cache, or not, as they are for the program, which is
//! called many times in a row. Reading and writing may go on at once, so the longer counts.
//! Arithmetic takes what probes of independent fused multiply-adds take, in vectors of 128
//! bits and in the widest that the processor has. No call is faster than the longest of
//! these; many can't be as fast, as divisions, shuffles and waiting for results are free here.

use std::fmt;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use backstitch::DType;
use backstitch::passes::Explanation;

/// What was measured, of all threads together.
pub struct Limits {
    threads: usize,
    /// By bytes that are worked on.
    streams: Vec<Stream>,
    narrow: Peak,
    wide: Peak,
    /// Bits of the widest vectors.
    bits: usize,
}

/// Bytes per nanosecond.
struct Stream {
    size: usize,
    read: f64,
    write: f64,
}

/// Operations per nanosecond, two for each multiply-add.
struct Peak {
    f32: f64,
    f64: f64,
}

/// What bounds a program.
pub struct Bound {
    /// Nanoseconds for its bytes.
    pub memory: f64,
    /// Nanoseconds for its operations, in vectors of 128 bits.
    pub narrow: f64,
    /// The same in the widest vectors.
    pub wide: f64,
}

/// The smallest and the largest probes: from within the first cache to memory.
const SIZES: std::ops::RangeInclusive<u32> = 13..=27;

/// A line of the cache, in elements.
const LINE: usize = 8;

/// How long a probe runs, of several.
const PROBE: Duration = Duration::from_millis(2);
const PROBES: usize = 7;

impl Limits {
    /// Measures, with so many threads.
    pub fn measure(threads: usize) -> Self {
        let (bits, vectors) = vectors();
        let streams = SIZES.map(|log| {
            let size = 1usize << log;
            let len = (size / 8).div_ceil(threads);
            let mut arrays = vec![vec![1u64; len + LINE]; threads];
            let mut arrays: Vec<&mut [u64]> = arrays
                .iter_mut()
                .map(|xs| {
                    let at = xs.as_ptr().align_offset(8 * LINE);
                    &mut xs[at..at + len]
                })
                .collect();
            let reads = vectors.read.map(|read| {
                best(&mut arrays, |xs| {
                    black_box(read(black_box(xs)));
                    8 * xs.len()
                })
            });
            let read = reads.into_iter().fold(0.0, f64::max);
            let write = best(&mut arrays, |xs| {
                (vectors.write)(black_box(&mut **xs), black_box(3));
                8 * xs.len()
            });
            Stream { size, read, write }
        });
        let peak = |fmas: [fn() -> usize; 2]| {
            let [f32, f64] = fmas.map(|f| best(&mut vec![(); threads], |()| f()));
            Peak { f32, f64 }
        };
        let (narrow, wide) = (peak(vectors.narrow), peak(vectors.wide));
        Self { threads, streams: streams.collect(), narrow, wide, bits }
    }

    /// What bounds this program, whose numbers are of that type.
    pub fn of(&self, program: &Explanation, dtype: DType) -> Bound {
        let (read, written) = (program.least.read as f64, program.least.written as f64);
        let (reading, writing) = self.at(read + written);
        let flops = program.total.flops as f64;
        let time = |peak: &Peak| flops / if dtype == DType::F64 { peak.f64 } else { peak.f32 };
        Bound {
            memory: (read / reading).max(written / writing),
            narrow: time(&self.narrow),
            wide: time(&self.wide),
        }
    }

    /// Bytes per nanosecond read and written where so many are worked on: between two
    /// probes, in proportion to the logarithm.
    fn at(&self, size: f64) -> (f64, f64) {
        let above = self.streams.partition_point(|s| (s.size as f64) < size);
        let b = &self.streams[above.min(self.streams.len() - 1)];
        let a = &self.streams[above.saturating_sub(1)];
        let way = (size.max(1.0) / a.size as f64).log2().clamp(0.0, 1.0);
        (a.read + way * (b.read - a.read), a.write + way * (b.write - a.write))
    }
}

/// The most per nanosecond that all threads together did of what `work` counts, each on
/// its own `T`.
fn best<T: Send>(places: &mut [T], work: impl Fn(&mut T) -> usize + Sync) -> f64 {
    let barrier = Barrier::new(places.len());
    let run = |place: &mut T| -> Vec<f64> {
        work(place);
        let start = Instant::now();
        work(place);
        // So many that looking at the clock takes no time.
        let batch = PROBE.as_nanos() / (20 * start.elapsed().as_nanos().max(20)) + 1;
        (0..PROBES)
            .map(|_| {
                barrier.wait();
                let (start, mut done) = (Instant::now(), 0);
                while start.elapsed() < PROBE {
                    done += (0..batch).map(|_| work(place)).sum::<usize>();
                }
                done as f64 / start.elapsed().as_nanos() as f64
            })
            .collect()
    };
    let probes: Vec<Vec<f64>> = std::thread::scope(|scope| {
        let (first, others) = places.split_first_mut().expect("a thread");
        let others: Vec<_> = others.iter_mut().map(|p| scope.spawn(|| run(p))).collect();
        let first = run(first);
        let others = others.into_iter().map(|t| t.join().expect("a probe that ends"));
        std::iter::once(first).chain(others).collect()
    });
    let together = |i: usize| probes.iter().map(|p| p[i]).sum::<f64>();
    (0..PROBES).map(together).fold(0.0, f64::max)
}

/// Probes for some width of vectors.
struct Vectors {
    /// Without and with asking for what comes next.
    read: [fn(&[u64]) -> u64; 2],
    write: fn(&mut [u64], u64),
    /// Of `f32` and of `f64`: how many operations they have done.
    narrow: [fn() -> usize; 2],
    wide: [fn() -> usize; 2],
}

/// As many sums at once as are independent of each other: enough for two units that take
/// five cycles each, in the registers there are.
const CHAINS: usize = 12;

/// How far on a probe asks for what it reads, in elements.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 256;

/// Multiply-adds of each chain in a call.
const STEPS: usize = 1_000;

#[inline(always)]
fn read(xs: &[u64]) -> u64 {
    let mut sums = [0u64; 64];
    let chunks = xs.chunks_exact(64);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum ^= x;
        }
    }
    sums.iter().chain(rest).fold(0, |a, b| a ^ b)
}

#[inline(always)]
fn write(xs: &mut [u64], value: u64) {
    xs.fill(value);
}

/// The widest vectors of this processor in bits, and probes.
#[cfg(target_arch = "x86_64")]
fn vectors() -> (usize, Vectors) {
    use x86::*;
    let narrow: [fn() -> usize; 2] =
        if is_x86_feature_detected!("fma") { [f32x4, f64x2] } else { [scalar32, scalar64] };
    if is_x86_feature_detected!("avx512f") {
        let wide: [fn() -> usize; 2] = [f32x16, f64x8];
        (512, Vectors { read: [read512, ahead512], write: write512, narrow, wide })
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        let wide: [fn() -> usize; 2] = [f32x8, f64x4];
        (256, Vectors { read: [read256, ahead256], write: write256, narrow, wide })
    } else {
        (128, Vectors { read: [read; 2], write, narrow, wide: narrow })
    }
}

/// As above.
#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> (usize, Vectors) {
    let all: [fn() -> usize; 2] = [scalar32, scalar64];
    (128, Vectors { read: [read; 2], write, narrow: all, wide: all })
}

/// Chains of multiply-adds of four or two numbers each, which the compiler makes vectors of.
macro_rules! scalars {
    ($($name:ident: $t:ty, $lanes:literal;)*) => {$(
        fn $name() -> usize {
            let (a, b) = black_box((0.5 as $t, 1.0 as $t));
            let mut sums = [[1.0 as $t; $lanes]; CHAINS];
            for _ in 0..STEPS {
                sums.iter_mut().flatten().for_each(|s| *s = s.mul_add(a, b));
            }
            black_box(sums);
            2 * CHAINS * STEPS * $lanes
        }
    )*};
}
scalars!(scalar32: f32, 4; scalar64: f64, 2;);

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Nothing here is reached but through `vectors`, which asks the processor first.

    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{AHEAD, CHAINS, STEPS};

    /// Explicit vectors: left to itself, the compiler takes narrower ones.
    macro_rules! streams {
        ($($feature:literal, $bits:literal: $read:ident, $ahead:ident($load:ident, $xor:ident,
            $zero:ident), $write:ident($store:ident, $set:ident);)*) => {$(
            streams! { $feature, $bits, false, $read, $load, $xor, $zero }
            streams! { $feature, $bits, true, $ahead, $load, $xor, $zero }

            pub fn $write(xs: &mut [u64], value: u64) {
                #[target_feature(enable = $feature)]
                fn run(xs: &mut [u64], value: u64) {
                    let value = $set(value as i64);
                    for x in xs.chunks_exact_mut($bits / 64) {
                        // SAFETY: there is room for as many bits.
                        unsafe { $store(x.as_mut_ptr().cast(), value) };
                    }
                }
                // SAFETY: the processor has been asked.
                unsafe { run(xs, value) }
            }
        )*};
        ($feature:literal, $bits:literal, $asks:literal, $read:ident, $load:ident, $xor:ident,
            $zero:ident) => {
            pub fn $read(xs: &[u64]) -> u64 {
                #[target_feature(enable = $feature)]
                fn run(xs: &[u64]) -> u64 {
                    let mut sums = [$zero(); 8];
                    for chunk in xs.chunks_exact($bits / 8) {
                        for (sum, x) in sums.iter_mut().zip(chunk.chunks_exact($bits / 64)) {
                            if $asks {
                                _mm_prefetch::<_MM_HINT_T0>(x.as_ptr().wrapping_add(AHEAD).cast());
                            }
                            // SAFETY: there are as many bits.
                            *sum = $xor(*sum, unsafe { $load(x.as_ptr().cast()) });
                        }
                    }
                    black_box(sums);
                    0
                }
                // SAFETY: the processor has been asked.
                unsafe { run(xs) }
            }
        };
    }
    streams! {
        "avx2", 256: read256, ahead256(_mm256_loadu_si256, _mm256_xor_si256, _mm256_setzero_si256),
            write256(_mm256_storeu_si256, _mm256_set1_epi64x);
        "avx512f", 512: read512, ahead512(_mm512_loadu_si512, _mm512_xor_si512, _mm512_setzero_si512),
            write512(_mm512_storeu_si512, _mm512_set1_epi64);
    }

    macro_rules! peaks {
        ($($name:ident: $feature:literal, $lanes:literal, $set:ident, $fma:ident;)*) => {$(
            pub fn $name() -> usize {
                #[target_feature(enable = $feature)]
                fn run() {
                    let (a, b) = ($set(black_box(0.5)), $set(black_box(1.0)));
                    let mut sums = [b; CHAINS];
                    for _ in 0..STEPS {
                        for sum in &mut sums {
                            *sum = $fma(*sum, a, b);
                        }
                    }
                    black_box(sums);
                }
                // SAFETY: the processor has been asked.
                unsafe { run() };
                2 * CHAINS * STEPS * $lanes
            }
        )*};
    }
    peaks! {
        f32x4: "fma", 4, _mm_set1_ps, _mm_fmadd_ps;
        f64x2: "fma", 2, _mm_set1_pd, _mm_fmadd_pd;
        f32x8: "fma", 8, _mm256_set1_ps, _mm256_fmadd_ps;
        f64x4: "fma", 4, _mm256_set1_pd, _mm256_fmadd_pd;
        f32x16: "avx512f", 16, _mm512_set1_ps, _mm512_fmadd_ps;
        f64x8: "avx512f", 8, _mm512_set1_pd, _mm512_fmadd_pd;
    }
}

/// What was measured, a line each.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} thread(s), at most:", self.threads)?;
        for s in &self.streams {
            let size = s.size >> 10;
            writeln!(f, "{size:>7} KiB: {:6.1} GB/s read, {:6.1} written", s.read, s.write)?;
        }
        for (bits, peak) in [(128, &self.narrow), (self.bits, &self.wide)] {
            let (f32, f64) = (peak.f32, peak.f64);
            writeln!(f, "vectors of {bits} bits: {f32:6.1} Gflop/s in f32, {f64:6.1} in f64")?;
        }
        Ok(())
    }
}
