//! Loops of few iterations, written out: for kernels inside loops over steps, where a
//! call would take longer than what the kernel does.
//!
//! Every axis is known in every iteration, so that each element of a small buffer is
//! known as well, and can be in a register. Reductions are combined in the order that
//! the nest says.

use backstitch_ir::nest::For;

use crate::address::Int;
use crate::nest::{NestEmitter, Span};
use crate::partial::Values;
use crate::scalar;
use crate::survey::lanes;

impl NestEmitter<'_, '_> {
    /// One iteration after the other, as straight-line code.
    pub(crate) fn written_out(&mut self, l: &For, span: Span) {
        let (Int { base: None, offset: first }, Some(count)) = (span.lo, span.count) else {
            unreachable!("{}: a loop of unknown length written out", self.nest.name)
        };
        let identities = self.identities(l);
        let mut partials: Vec<Values> =
            identities.iter().map(|&x| Values::from_elem(x, lanes(l))).collect();
        let mut carried: Values = l.carries.iter().map(|c| self.scalar(c.init)).collect();
        for t in 0..count {
            for (c, &value) in l.carries.iter().zip(&carried) {
                self.bind(c.var, value);
            }
            self.at.enter(l.axis, Int::known(first + t as i64));
            self.block(&l.body);
            self.at.leave(l.axis);
            carried = l.carries.iter().map(|c| self.scalar(c.next)).collect();
            for (acc, partials) in l.accs.iter().zip(&mut partials) {
                let term = acc.term.map(|v| self.scalar(v));
                let old = &mut partials[t % lanes(l)];
                *old = scalar::take(self.asm, term, self.nest.vars[acc.result], *old);
            }
        }
        for (acc, mut partials) in l.accs.iter().zip(partials) {
            while partials.len() > 1 {
                let half = partials.len() / 2;
                for j in 0..half {
                    let (op, of) = (acc.term.op(), self.nest.vars[acc.result]);
                    partials[j] =
                        scalar::combine(self.asm, op, of, partials[j], partials[j + half]);
                }
                partials.truncate(half);
            }
            self.bind(acc.result, partials[0]);
        }
    }
}
