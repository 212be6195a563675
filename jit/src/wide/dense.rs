//! Arrays of a few columns: whole vectors, permuted.
//!
//! Lanes that step over two, three or four elements leave little out: all of it is read,
//! and each column picked from the vectors with permutations of two registers. Stores go
//! the other way, where all columns are written.

use smallvec::SmallVec;

use super::code::Width;
use super::inst::{Class, Inst, Place, Reg, Role, Source, Vector};
use super::lower::Lowering;
use super::masks::Mask;
use super::ops::{blank, store_inst};
use super::table as t;

/// A run of `columns` among each `stride` elements, read or written by `rows` of so many
/// lanes.
#[derive(Clone, Copy)]
pub(super) struct Dense {
    pub stride: usize,
    pub columns: usize,
    pub size: usize,
    pub lanes: usize,
    pub rows: usize,
}

impl Dense {
    /// Elements from the first to the last.
    fn elements(self) -> usize {
        (self.rows - 1) * self.stride + self.columns
    }

    fn width(self) -> Width {
        Width::of(self.lanes * self.size)
    }

    fn pick(self, narrow: &'static t::Row, wide: &'static t::Row) -> &'static t::Row {
        if self.size == 8 { wide } else { narrow }
    }
}

impl Lowering<'_> {
    /// The columns, from the place of the first element.
    pub(super) fn load_dense(&mut self, place: Place, d: Dense) -> Option<SmallVec<[Reg; 4]>> {
        let row = d.pick(&t::LOADPS, &t::LOADPD);
        let mut vectors: SmallVec<[Reg; 4]> = SmallVec::new();
        for (at, mask) in self.vectors_of(place, d)? {
            let def = self.ops.program.reg(Class::Vector);
            self.ops.push(Inst::Vector(Vector {
                width: d.width(),
                reg: Some((def, Role::Def)),
                source: Source::Place(at),
                mask: mask.map(|k| (k, true)),
                ..blank(row)
            }));
            vectors.push(def);
        }
        (0..d.columns)
            .map(|column| {
                let from = |lane: usize| {
                    let element = lane * d.stride + column;
                    (element / d.lanes, element % d.lanes)
                };
                self.permuted(&vectors, d, from)
            })
            .collect()
    }

    /// All columns, to the place of the first element.
    pub(super) fn store_dense(&mut self, place: Place, d: Dense, columns: &[Reg]) -> Option<()> {
        let row = d.pick(&t::STOREPS, &t::STOREPD);
        for (number, (at, mask)) in self.vectors_of(place, d)?.into_iter().enumerate() {
            let from = |lane: usize| {
                let element = number * d.lanes + lane;
                (element % d.stride, element / d.stride)
            };
            let x = self.permuted(columns, d, from)?;
            self.ops.push(store_inst(row, d.width(), x, at, mask));
        }
        Some(())
    }

    /// The places of the vectors, and the lanes of each that there are.
    fn vectors_of(&mut self, place: Place, d: Dense) -> Option<SmallVec<[(Place, Mask); 4]>> {
        let mut out = SmallVec::new();
        for first in (0..d.elements()).step_by(d.lanes) {
            let left = d.elements() - first;
            let mask = (left < d.lanes).then(|| self.ops.mask_constant((1 << left) - 1));
            let disp = place.disp.checked_add((first * d.size) as i32)?;
            out.push((Place { disp, ..place }, mask));
        }
        Some(out)
    }

    /// A vector whose lanes come from these vectors' lanes; those from vectors that are not
    /// there do not matter.
    fn permuted(
        &mut self,
        vectors: &[Reg],
        d: Dense,
        from: impl Fn(usize) -> (usize, usize),
    ) -> Option<Reg> {
        let row = d.pick(&t::PERMUTE2_PS, &t::PERMUTE2_PD);
        self.ops.has(row)?;
        let mut out = vectors[0];
        let others = if vectors.len() == 1 { 0..1 } else { 1..vectors.len() };
        for (step, number) in others.enumerate() {
            let index: Vec<u8> = (0..d.lanes)
                .flat_map(|lane| {
                    let (vector, source) = from(lane);
                    let index = match vector {
                        0 if step == 0 => source,
                        v if v == number => d.lanes + source,
                        _ => lane,
                    };
                    index.to_le_bytes()[..d.size].to_vec()
                })
                .collect();
            let index = self.ops.lanes_constant(&index);
            let def = self.ops.variable(out);
            self.ops.push(Inst::Vector(Vector {
                width: d.width(),
                reg: Some((def, Role::Change)),
                second: Some(index),
                source: Source::Reg(vectors[number.min(vectors.len() - 1)]),
                ..blank(row)
            }));
            out = def;
        }
        Some(out)
    }
}
