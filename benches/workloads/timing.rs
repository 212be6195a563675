//! Measuring: several contenders in turn, so that what else the machine does
//! meets all of them alike.

use std::time::{Duration, Instant};

/// Something to be timed.
pub struct Contender<'a> {
    pub name: &'static str,
    pub call: Box<dyn FnMut() + 'a>,
}

/// Time per call, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub median: f64,
    pub min: f64,
    pub p90: f64,
    pub samples: usize,
}

/// A sample is of as many calls as fit in this, but at least one.
const SAMPLE: Duration = Duration::from_micros(500);

/// Fewer samples than this are not taken.
const FEWEST: usize = 7;

/// Times all contenders, for about so long each.
pub fn measure(contenders: &mut [Contender<'_>], each: Duration) -> Vec<Times> {
    let calls: Vec<u32> = contenders.iter_mut().map(|c| calibrate(&mut c.call)).collect();
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    let mut spent = vec![Duration::ZERO; contenders.len()];
    let wants = |spent: &Duration, samples: &Vec<f64>| *spent < each || samples.len() < FEWEST;
    loop {
        let mut idle = true;
        for (i, contender) in contenders.iter_mut().enumerate() {
            if !wants(&spent[i], &samples[i]) {
                continue;
            }
            idle = false;
            // Once untimed: another contender has had the caches meanwhile.
            (contender.call)();
            let start = Instant::now();
            (0..calls[i]).for_each(|_| (contender.call)());
            let time = start.elapsed();
            spent[i] += time;
            samples[i].push(time.as_secs_f64() * 1e9 / f64::from(calls[i]));
        }
        if idle {
            return samples.into_iter().map(summary).collect();
        }
    }
}

/// Warms up; how many calls make a sample.
fn calibrate(call: &mut dyn FnMut()) -> u32 {
    let mut calls = 1;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        let time = start.elapsed();
        if time >= SAMPLE / 2 || calls >= 1 << 20 {
            let scale = SAMPLE.as_secs_f64() / time.as_secs_f64().max(1e-9);
            return ((f64::from(calls) * scale) as u32).max(1);
        }
        calls *= 2;
    }
}

/// Median and so on of these.
pub fn summary(mut samples: Vec<f64>) -> Times {
    samples.sort_by(f64::total_cmp);
    let at = |q: f64| samples[((samples.len() - 1) as f64 * q).round() as usize];
    Times { median: at(0.5), min: at(0.0), p90: at(0.9), samples: samples.len() }
}
