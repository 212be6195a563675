//! Macros that turn an expression on elements into a function on arrays.
//!
//! The expression is instantiated per element type, so that eager mode runs the
//! loop one would write by hand.

use ndarray::{ArcArray, IxDyn, Zip};

use crate::array::{Array, Element};

pub(super) fn map1<A: Element, R: Element>(a: &ArcArray<A, IxDyn>, f: impl Fn(A) -> R) -> Array {
    R::wrap(a.mapv(f).into_shared())
}

pub(super) fn map2<A: Element, R: Element>(
    a: &ArcArray<A, IxDyn>,
    b: &Array,
    f: impl Fn(A, A) -> R,
) -> Array {
    let b = A::unwrap(b).expect("map: operands were type-checked");
    // Zip checks every axis' layout; plain slices are quicker and as common.
    let out = match (a.as_slice(), b.as_slice()) {
        (Some(x), Some(y)) => {
            let data = x.iter().zip(y).map(|(&x, &y)| f(x, y)).collect();
            ArcArray::from_shape_vec(a.raw_dim(), data).expect("same length")
        }
        _ => Zip::from(a).and(b).map_collect(|&x, &y| f(x, y)).into_shared(),
    };
    R::wrap(out)
}

pub(super) fn map3<A: Element, R: Element>(
    a: &ArcArray<A, IxDyn>,
    others: [&Array; 2],
    f: impl Fn(A, A, A) -> R,
) -> Array {
    let [b, c] = others.map(|x| A::unwrap(x).expect("map: operands were type-checked"));
    R::wrap(Zip::from(a).and(b).and(c).map_collect(|&x, &y, &z| f(x, y, z)).into_shared())
}

pub(super) fn select(args: &[&Array]) -> Array {
    fn of<T: Element>(c: &ArcArray<bool, IxDyn>, x: &ArcArray<T, IxDyn>, y: &Array) -> Array {
        let y = T::unwrap(y).expect("select: operands were type-checked");
        let pick = |&c: &bool, &x: &T, &y: &T| if c { x } else { y };
        T::wrap(Zip::from(c).and(x).and(y).map_collect(pick).into_shared())
    }
    let c = bool::unwrap(args[0]).expect("select: condition was type-checked");
    crate::with_array!(args[1], x => of(c, x, args[2]))
}

/// Floats: one expression for both widths.
macro_rules! float {
    ($x:ident => $e:expr) => {
        |a| match a[0] {
            $crate::array::Array::F32(v) => $crate::scalar::eval::map1(v, |$x: f32| -> f32 { $e }),
            $crate::array::Array::F64(v) => $crate::scalar::eval::map1(v, |$x: f64| -> f64 { $e }),
            _ => unreachable!("map: operands were type-checked"),
        }
    };
    ($x:ident, $y:ident => $e:expr) => {
        |a| match a[0] {
            $crate::array::Array::F32(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: f32, $y: f32| -> f32 { $e })
            }
            $crate::array::Array::F64(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: f64, $y: f64| -> f64 { $e })
            }
            _ => unreachable!("map: operands were type-checked"),
        }
    };
}

/// Numbers: one expression for floats, one for integers.
macro_rules! number {
    ($x:ident => $f:expr, $i:expr) => {
        |a| match a[0] {
            $crate::array::Array::F32(v) => $crate::scalar::eval::map1(v, |$x: f32| -> f32 { $f }),
            $crate::array::Array::F64(v) => $crate::scalar::eval::map1(v, |$x: f64| -> f64 { $f }),
            $crate::array::Array::I32(v) => $crate::scalar::eval::map1(v, |$x: i32| -> i32 { $i }),
            $crate::array::Array::I64(v) => $crate::scalar::eval::map1(v, |$x: i64| -> i64 { $i }),
            $crate::array::Array::Bool(_) => unreachable!("map: operands were type-checked"),
        }
    };
    ($x:ident, $y:ident => $f:expr, $i:expr) => {
        |a| match a[0] {
            $crate::array::Array::F32(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: f32, $y: f32| -> f32 { $f })
            }
            $crate::array::Array::F64(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: f64, $y: f64| -> f64 { $f })
            }
            $crate::array::Array::I32(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: i32, $y: i32| -> i32 { $i })
            }
            $crate::array::Array::I64(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: i64, $y: i64| -> i64 { $i })
            }
            $crate::array::Array::Bool(_) => unreachable!("map: operands were type-checked"),
        }
    };
}

/// Comparisons of two operands of any type.
macro_rules! compare {
    ($x:ident, $y:ident => $e:expr) => {
        |a| $crate::with_array!(a[0], v => $crate::scalar::eval::map2(v, a[1], |$x, $y| -> bool { $e }))
    };
}

/// Integers, one expression, and booleans, another.
macro_rules! bits {
    ($x:ident => $i:expr, $b:expr) => {
        |a| match a[0] {
            $crate::array::Array::I32(v) => $crate::scalar::eval::map1(v, |$x: i32| -> i32 { $i }),
            $crate::array::Array::I64(v) => $crate::scalar::eval::map1(v, |$x: i64| -> i64 { $i }),
            $crate::array::Array::Bool(v) => {
                $crate::scalar::eval::map1(v, |$x: bool| -> bool { $b })
            }
            _ => unreachable!("map: operands were type-checked"),
        }
    };
    ($x:ident, $y:ident => $i:expr, $b:expr) => {
        |a| match a[0] {
            $crate::array::Array::I32(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: i32, $y: i32| -> i32 { $i })
            }
            $crate::array::Array::I64(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: i64, $y: i64| -> i64 { $i })
            }
            $crate::array::Array::Bool(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: bool, $y: bool| -> bool { $b })
            }
            _ => unreachable!("map: operands were type-checked"),
        }
    };
}

/// Integers: one expression for both widths.
macro_rules! ints {
    ($x:ident, $y:ident => $e:expr) => {
        |a| match a[0] {
            $crate::array::Array::I32(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: i32, $y: i32| -> i32 { $e })
            }
            $crate::array::Array::I64(v) => {
                $crate::scalar::eval::map2(v, a[1], |$x: i64, $y: i64| -> i64 { $e })
            }
            _ => unreachable!("map: operands were type-checked"),
        }
    };
}

/// A cast to a number type.
macro_rules! cast {
    ($to:ty) => {
        |a| match a[0] {
            $crate::array::Array::F32(v) => $crate::scalar::eval::map1(v, |x: f32| x as $to),
            $crate::array::Array::F64(v) => $crate::scalar::eval::map1(v, |x: f64| x as $to),
            $crate::array::Array::I32(v) => $crate::scalar::eval::map1(v, |x: i32| x as $to),
            $crate::array::Array::I64(v) => $crate::scalar::eval::map1(v, |x: i64| x as $to),
            $crate::array::Array::Bool(v) => {
                $crate::scalar::eval::map1(v, |x: bool| u8::from(x) as $to)
            }
        }
    };
}

pub(super) use {bits, cast, compare, float, ints, number};
