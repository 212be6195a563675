//! The digits, the part of them that is kept for testing, and their order.

use backstitch::{Array, Spec};
use ndarray::{Array1, Array2, Axis};

/// Grey values of a digit.
pub const PIXELS: usize = 64;
/// Classes of digits.
pub const CLASSES: usize = 10;
/// One digit in so many is for testing.
const TESTED: usize = 5;
/// The largest grey value.
const WHITE: f32 = 16.0;

/// Some digits: grey values from 0 to 1, and what they mean.
pub struct Digits {
    /// A row for each digit.
    pub pixels: Array2<f32>,
    /// From 0 to 9.
    pub labels: Array1<i64>,
}

/// All digits: those to learn from, those for testing. Which is which is fixed.
pub fn digits() -> Result<(Digits, Digits), Box<dyn std::error::Error>> {
    let mut pixels = Vec::new();
    let mut labels = Vec::new();
    for (number, line) in include_str!("../data/digits.csv").lines().enumerate() {
        let fields = line.split(',').map(|field| field.trim().parse::<u8>());
        let fields = fields.collect::<Result<Vec<u8>, _>>()?;
        let [grey @ .., label] = fields.as_slice() else { continue };
        if grey.len() != PIXELS || usize::from(*label) >= CLASSES {
            return Err(format!("line {} is no digit", number + 1).into());
        }
        pixels.extend(grey.iter().map(|&g| f32::from(g) / WHITE));
        labels.push(i64::from(*label));
    }
    let pixels = Array2::from_shape_vec((labels.len(), PIXELS), pixels)?;
    let all = Digits { pixels, labels: labels.into() };
    let (test, train): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|i| i % TESTED == 0);
    Ok((all.rows(&train), all.rows(&test)))
}

impl Digits {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The digits with these numbers.
    pub fn rows(&self, rows: &[usize]) -> Self {
        let pixels = self.pixels.select(Axis(0), rows);
        Self { pixels, labels: self.labels.select(Axis(0), rows) }
    }

    /// The types of all of them as a batch.
    pub fn specs(&self) -> (Spec, Spec) {
        (Spec::of(&self.pixels), Spec::of(&self.labels))
    }

    /// The share of them that these classes are right about.
    pub fn accuracy(&self, classes: &Array) -> Option<f64> {
        let classes = classes.view::<i64>()?;
        let right = classes.iter().zip(&self.labels).filter(|(class, label)| class == label);
        Some(right.count() as f64 / self.len() as f64)
    }
}

/// The order in which digits are seen, another one in each epoch.
pub struct Shuffle {
    order: Vec<usize>,
    state: u64,
}

impl Shuffle {
    /// Of so many digits. The same seed gives the same orders.
    pub fn new(seed: u64, digits: usize) -> Self {
        Self { order: (0..digits).collect(), state: seed }
    }

    /// The next order, in full batches; the few digits left over have to wait.
    pub fn batches(&mut self, size: usize) -> std::slice::ChunksExact<'_, usize> {
        for i in (1..self.order.len()).rev() {
            let j = (self.next() % (i as u64 + 1)) as usize;
            self.order.swap(i, j);
        }
        self.order.chunks_exact(size)
    }

    /// SplitMix64 (Steele, Lea, Flood, *Fast Splittable Pseudorandom Number
    /// Generators*, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
