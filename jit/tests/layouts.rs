//! Nests over arrays in all layouts (transposed, strided, broadcast, narrow) give the same
//! bits compiled as interpreted.

mod common;

use backstitch_ir::DType;
use backstitch_ir::build::NestBuilder;
use backstitch_ir::nest::{Access, At, Axis, Mode, Monoid, Nest, Param, Range, Var};
use backstitch_ir::verify_nest;
use common::{Rng, check_nest};

const EXTENTS: [usize; 12] = [0, 1, 2, 3, 4, 5, 7, 8, 9, 17, 18, 33];

/// Loops over rows and columns, perhaps in blocks, that read and write some arrays.
struct Maker<'r> {
    rng: &'r mut Rng,
    b: NestBuilder,
    dtype: DType,
    row: Axis,
    column: Axis,
    extents: [usize; 2],
    values: Vec<Var>,
}

impl Maker<'_> {
    /// Steps of an access by row and by column, for `width` elements side by side.
    fn steps(&mut self, width: usize) -> [i64; 2] {
        let [rows, columns] = self.extents.map(|n| n.max(1));
        let gap = width + self.rng.pick(&[0, 0, 1, 5]);
        match self.rng.below(3) {
            0 => [(columns * gap) as i64, gap as i64],
            1 => [1, (rows.max(width) + gap) as i64],
            _ => [gap as i64, (rows * gap) as i64],
        }
    }

    /// A computed distance, other in each iteration: up to three elements.
    fn place(&mut self) -> Var {
        let at = At { strides: [(self.column, 1)].into_iter().collect(), ..At::default() };
        let indices = self.b.param(DType::I64, self.extents[1].max(1), Access::In);
        let (index, most) = (self.b.load(indices, at), self.b.int(DType::I64, 3));
        self.b.and(index, most)
    }

    fn param(&mut self, steps: [i64; 2], width: usize, access: Access) -> (Param, At) {
        let mut at = At { offset: self.rng.below(4) as i64, ..At::default() };
        // And room for what an index adds.
        let mut len = at.offset as usize + width + 3;
        for (k, axis) in [self.row, self.column].into_iter().enumerate() {
            let last = self.extents[k].saturating_sub(1) as i64;
            let step = if self.rng.chance(12) { -steps[k] } else { steps[k] };
            at.offset += (-step).max(0) * last;
            len += (step.abs() * last) as usize;
            if step != 0 {
                at.strides.push((axis, step));
            }
        }
        (self.b.param(self.dtype, len, access), at)
    }

    /// Some elements side by side.
    fn read(&mut self) {
        let width = self.rng.pick(&[1, 1, 2, 3, 4, 5, 7]);
        let mut steps = self.steps(width);
        if self.rng.chance(30) {
            steps[self.rng.below(2)] = 0;
        }
        let (param, mut at) = self.param(steps, width, Access::In);
        if self.rng.chance(25) {
            at.index = Some(self.place());
        }
        for k in 0..width as i64 {
            let value = self.b.load(param, At { offset: at.offset + k, ..at.clone() });
            self.values.push(value);
        }
    }

    fn value(&mut self) -> Var {
        let (x, y) = (self.rng.pick(&self.values), self.rng.pick(&self.values));
        let v = if self.rng.chance(50) { self.b.add(x, y) } else { x };
        self.values.push(v);
        v
    }

    fn write(&mut self) {
        let value = self.value();
        if self.rng.chance(40) {
            // Into a row of sums.
            let (param, at) = self.param([0, 1], 1, Access::InOut);
            return self.b.accumulate(param, at, Monoid::Sum, value);
        }
        let width = self.rng.pick(&[1, 1, 2, 3, 4, 6]);
        let [rows, columns] = self.extents.map(|n| n.max(1));
        let steps = match self.rng.below(2) {
            0 => [(columns * width) as i64, width as i64],
            _ if width == 1 => [1, rows as i64],
            _ => [width as i64, (rows * width) as i64],
        };
        let (param, at) = self.param(steps, width, Access::InOut);
        for k in 0..width as i64 {
            let value = self.value();
            let at = At { offset: at.offset + k, ..at.clone() };
            if self.rng.chance(10) {
                self.b.accumulate(param, at, Monoid::Sum, value);
            } else if self.rng.chance(95) {
                self.b.store(param, at, value);
            }
        }
    }
}

fn nest(rng: &mut Rng) -> Nest {
    let mut b = NestBuilder::new("layouts");
    let dtype = rng.pick(&[DType::F32, DType::F64, DType::I32, DType::I64]);
    let extents = [rng.pick(&EXTENTS), rng.pick(&EXTENTS)];
    let blocks = rng.chance(40).then(|| [1 + rng.below(9), 1 + rng.below(17)]);
    let mut ranges = [Range::Whole; 2];
    for k in 0..2 {
        if let Some(size) = blocks.map(|b| b[k]) {
            let of = b.axis(extents[k].div_ceil(size));
            b.open(
                of,
                Range::Whole,
                if rng.chance(50) { Mode::Parallel } else { Mode::Sequential },
            );
            ranges[k] = Range::Chunk { of, size };
        }
    }
    let (row, column) = (b.axis(extents[0]), b.axis(extents[1]));
    b.open(row, ranges[0], Mode::Sequential);
    let lanes = 1 << rng.below(5);
    let before = rng.chance(30);
    let mut m = Maker { rng, b, dtype, row, column, extents, values: vec![] };
    let zero = m.b.int(dtype, 3);
    m.values.push(zero);
    if before {
        let at = At { strides: [(row, 1)].into_iter().collect(), ..At::default() };
        let x = m.b.param(dtype, extents[0].max(1), Access::In);
        let x = m.b.load(x, at);
        m.values.push(x);
    }
    m.b.open(column, ranges[1], Mode::Vector { lanes });
    for _ in 0..1 + m.rng.below(3) {
        m.read();
    }
    for _ in 0..1 + m.rng.below(2) {
        m.write();
    }
    let accs = if m.rng.chance(15) { vec![(Monoid::Sum, m.value())] } else { vec![] };
    let sums = m.b.close(&accs);
    if let [sum] = sums[..] {
        let at = At { strides: [(row, 1)].into_iter().collect(), ..At::default() };
        let y = m.b.param(dtype, extents[0].max(1), Access::InOut);
        m.b.accumulate(y, at, Monoid::Sum, sum);
    }
    m.b.close(&[]);
    if blocks.is_some() {
        m.b.close(&[]);
        m.b.close(&[]);
    }
    m.b.finish()
}

#[test]
fn arrays_in_all_layouts() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1500);
    let mut legal = 0;
    for seed in 0..rounds {
        let mut rng = Rng::new(seed);
        let nest = nest(&mut rng);
        // Steps are drawn at random: iterations may meet, which vector loops must not.
        if verify_nest::verify(&nest).is_err() {
            continue;
        }
        legal += 1;
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check_nest(&nest, &mut rng)));
        if let Err(e) = result {
            eprintln!("seed {seed}\n{nest}");
            std::panic::resume_unwind(e);
        }
    }
    assert!(legal > rounds / 2, "{legal} of {rounds}");
}
