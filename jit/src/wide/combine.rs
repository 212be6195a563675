//! Reductions: partial results, and the tree that combines them.

use backstitch_ir::DType;
use backstitch_ir::nest::{Const, Monoid};

use super::code::{Encoding, Width};
use super::compare::{ORDERED, UNORDERED};
use super::inst::{Class, Fma, Inst, Reg, Role, Source, Vector};
use super::masks::{AND, AND_NOT, Mask};
use super::ops::{Arg, Ops, blank, sized, unary_vector};
use super::table::{self as t, Row};

/// The instruction for `acc ⊕ x`, but for what NaN asks for.
fn row(op: Monoid, of: DType) -> &'static Row {
    match (op, of.is_float()) {
        (Monoid::Sum, true) => sized(of, &t::ADDPS, &t::ADDPD),
        (Monoid::Sum, false) => sized(of, &t::PADDD, &t::PADDQ),
        (Monoid::Prod, true) => sized(of, &t::MULPS, &t::MULPD),
        (Monoid::Prod, false) => sized(of, &t::PMULLD, &t::PMULLQ),
        (Monoid::Max, true) => sized(of, &t::MAXPS, &t::MAXPD),
        (Monoid::Max, false) => sized(of, &t::PMAXSD, &t::PMAXSQ),
        (Monoid::Min, true) => sized(of, &t::MINPS, &t::MINPD),
        (Monoid::Min, false) => sized(of, &t::PMINSD, &t::PMINSQ),
        (Monoid::Any | Monoid::All, _) => unreachable!("of truth values"),
    }
}

impl Ops {
    /// `acc = acc ⊕ x` in the lanes of the mask, where `acc` is written again.
    pub fn combine_into(
        &mut self,
        acc: Reg,
        op: Monoid,
        of: DType,
        lanes: usize,
        x: Reg,
        mask: Mask,
    ) -> Option<()> {
        match self.encoding {
            Encoding::Evex if of == DType::Bool => {
                let x = match mask {
                    Some(mask) => self.only_inside(op, lanes, x, mask)?,
                    None => x,
                };
                self.combine_masks(acc, op, lanes, x)
            }
            Encoding::Evex => self.combine_merging(acc, op, of, lanes, x, mask),
            Encoding::Vex => {
                let x = match mask {
                    Some(mask) => {
                        let other = neutral(op, of).map_or(Arg::Reg(acc), Arg::Const);
                        self.select(of, lanes, Arg::Reg(mask), Arg::Reg(x), other)?
                    }
                    None => x,
                };
                match of {
                    DType::Bool => self.combine_masks(acc, op, lanes, x),
                    _ => self.combine_vectors(acc, op, of, lanes, x),
                }
            }
        }
    }

    /// `acc = a · b + acc` in the lanes of the mask, where `acc` is written again.
    pub fn add_product(
        &mut self,
        acc: Reg,
        of: DType,
        lanes: usize,
        [a, b]: [Arg; 2],
        mask: Mask,
    ) -> Option<()> {
        let (double, width) = (of.size() == 8, Width::of(lanes * of.size()));
        if let (Encoding::Vex, Some(mask)) = (self.encoding, mask) {
            let sum = self.fma(double, width, [a, b, Arg::Reg(acc)]);
            let inside = self.mask_for(mask, of.size(), lanes)?;
            self.blend(of.size(), lanes, acc, inside, Source::Reg(sum), acc);
            return Some(());
        }
        // At most one factor comes from memory.
        let a = Source::Reg(self.reg(a));
        let args = [a, self.source(b), Source::Reg(acc)];
        self.push(Inst::Fma(Fma { double, width, def: acc, args, mask }));
        Some(())
    }

    /// `x` inside of the mask, and what changes nothing outside.
    fn only_inside(&mut self, op: Monoid, lanes: usize, x: Reg, mask: Reg) -> Option<Reg> {
        let (x, mask) = (Arg::Reg(x), Arg::Reg(mask));
        if op == Monoid::Any {
            return self.masks(AND, lanes, x, mask);
        }
        let fails = self.masks(AND_NOT, lanes, x, mask)?;
        self.not(Arg::Reg(fails), lanes)
    }

    /// Lanes outside of the mask stay what they are.
    fn combine_merging(
        &mut self,
        acc: Reg,
        op: Monoid,
        of: DType,
        lanes: usize,
        x: Reg,
        mask: Mask,
    ) -> Option<()> {
        let width = Width::of(lanes * of.size());
        let mut mask = mask;
        if matches!(op, Monoid::Max | Monoid::Min) && of.is_float() {
            // A NaN stays; one that comes is the instruction's second operand, and wins.
            let compare = sized(of, &t::CMPPS, &t::CMPPD);
            mask = Some(self.compare_into(compare, width, acc, Source::Reg(acc), ORDERED, mask)?);
        }
        self.accumulate(row(op, of), width, acc, x, mask);
        Some(())
    }

    /// `acc = acc ⊕ x` in one instruction, in the lanes of the mask.
    fn accumulate(&mut self, row: &'static Row, width: Width, acc: Reg, x: Reg, mask: Mask) {
        let role = if mask.is_some() { Role::Change } else { Role::Def };
        self.push(Inst::Vector(Vector {
            width,
            reg: Some((acc, role)),
            second: Some(acc),
            source: Source::Reg(x),
            mask: mask.map(|k| (k, false)),
            ..blank(row)
        }));
    }

    // ---- Minima and maxima of floats in a loop ----
    //
    // A NaN stays, and to see that, each step would have to look at what the step before has
    // made. In a loop one looks at what comes instead, and leaves numbers alone: in a lane
    // where there was a NaN, nothing else matters.

    /// Where a NaN has come, if a loop's reduction is to look out for that: nowhere yet.
    pub fn watch(&mut self, op: Monoid, of: DType) -> Option<Reg> {
        let watched = self.encoding == Encoding::Evex
            && matches!(op, Monoid::Max | Monoid::Min)
            && of.is_float();
        watched.then(|| {
            let none = self.mask_constant(0);
            self.variable(none)
        })
    }

    /// `acc = acc ⊕ x` for one partial result or two, in the lanes of the mask.
    pub fn combine_watched(
        &mut self,
        seen: Reg,
        op: Monoid,
        of: DType,
        lanes: usize,
        each: &[(Reg, Reg)],
        mask: Mask,
    ) -> Option<()> {
        let width = Width::of(lanes * of.size());
        let (first, last) = (each.first()?.1, each.last()?.1);
        let compare = sized(of, &t::CMPPS, &t::CMPPD);
        let nan = self.compare_into(compare, width, first, Source::Reg(last), UNORDERED, mask)?;
        self.combine_masks(seen, Monoid::Any, lanes, nan)?;
        for &(acc, x) in each {
            self.accumulate(row(op, of), width, acc, x, mask);
        }
        Some(())
    }

    /// Puts NaN into the first lane if one has come in any.
    fn settle(&mut self, seen: Reg, of: DType, lanes: usize, acc: Reg) -> Option<()> {
        let any = self.finish_mask(Monoid::Any, lanes, seen)?;
        let nan = self.constant(Const::of_float(of, f64::NAN));
        self.blend(of.size(), 1, acc, any, Source::Reg(nan), acc);
        Some(())
    }

    fn combine_vectors(
        &mut self,
        acc: Reg,
        op: Monoid,
        of: DType,
        lanes: usize,
        x: Reg,
    ) -> Option<()> {
        let width = Width::of(lanes * of.size());
        let (row, both) = (row(op, of), [Arg::Reg(acc), Arg::Reg(x)]);
        match (op, of) {
            (Monoid::Max | Monoid::Min, DType::F32 | DType::F64) => {
                // A NaN stays; one that comes is the instruction's second operand, and wins.
                let best = self.binary(row, width, both[0], both[1])?;
                let nan = self.compare_floats(UNORDERED, of, lanes, both[0], both[0])?;
                self.blend(of.size(), lanes, acc, nan, Source::Reg(acc), best);
            }
            (Monoid::Max | Monoid::Min, DType::I64) => {
                let [a, b] = if op == Monoid::Max { both } else { [both[1], both[0]] };
                let better = self.binary(&t::PCMPGTQ, width, a, b)?;
                self.blend(of.size(), lanes, acc, better, Source::Reg(acc), x);
            }
            (Monoid::Prod, DType::I64) => {
                let product = self.multiply_long(lanes, both[0], both[1])?;
                self.copy(acc, product)?;
            }
            _ => {
                let inst = unary_vector(row, width, acc, Source::Reg(x));
                self.push(Inst::Vector(Vector { second: Some(acc), ..inst }));
            }
        }
        Some(())
    }

    /// The tree over the lanes of the partial results; the result is the first lane. Where it
    /// was looked out for NaN, the tree is of numbers alone.
    pub fn finish(
        &mut self,
        op: Monoid,
        of: DType,
        lanes: usize,
        partials: &[Reg],
        seen: Option<Reg>,
    ) -> Option<Reg> {
        let combine = |this: &mut Self, acc, lanes, x| match seen {
            Some(_) => {
                this.accumulate(row(op, of), Width::of(lanes * of.size()), acc, x, None);
                Some(())
            }
            None => this.combine_into(acc, op, of, lanes, x, None),
        };
        let mut partials = partials.to_vec();
        while partials.len() > 1 {
            let half = partials.len() / 2;
            for i in 0..half {
                let (a, b) = (partials[i], partials[i + half]);
                combine(self, a, lanes, b)?;
            }
            partials.truncate(half);
        }
        let acc = partials[0];
        if of == DType::Bool {
            return self.finish_mask(op, lanes, acc);
        }
        let all = lanes;
        let mut lanes = lanes;
        while lanes > 1 {
            let bytes = lanes * of.size();
            let high = match bytes {
                64 => self.part(&t::EXTRACT256, Width::Z512, acc, 1)?,
                32 => self.part(&t::EXTRACT128, Width::Y256, acc, 1)?,
                16 => self.unary_with(&t::PSHUFD, Width::X128, Source::Reg(acc), 0xee)?,
                _ => self.unary_with(&t::PSHUFD, Width::X128, Source::Reg(acc), 0x55)?,
            };
            lanes /= 2;
            combine(self, acc, lanes, high)?;
        }
        if let Some(seen) = seen {
            self.settle(seen, of, all, acc)?;
        }
        Some(acc)
    }

    /// The 128 bits of that number.
    pub(super) fn part_of(&mut self, x: Reg, part: usize) -> Option<Reg> {
        match part {
            0 => Some(x),
            1 => self.part(&t::EXTRACT128, Width::Y256, x, 1),
            _ => self.part(&t::EXTRACT128, Width::Z512, x, part as u8),
        }
    }

    /// A part of a vector.
    pub(super) fn part(
        &mut self,
        row: &'static Row,
        width: Width,
        x: Reg,
        which: u8,
    ) -> Option<Reg> {
        self.has(row)?;
        let def = self.program.reg(Class::Vector);
        self.push(Inst::Vector(Vector {
            width,
            reg: Some((x, Role::Use)),
            source: Source::Reg(def),
            to_source: true,
            immediate: Some(which),
            ..blank(row)
        }));
        Some(def)
    }
}

/// What changes nothing; itself where that is as good. To a sum that is -0, 0 would do
/// something.
fn neutral(op: Monoid, of: DType) -> Option<Const> {
    match op {
        Monoid::Sum if of.is_float() => Some(Const::of_float(of, -0.0)),
        Monoid::Max | Monoid::Min => None,
        _ => Some(op.identity(of)),
    }
}
