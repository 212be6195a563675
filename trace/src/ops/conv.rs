//! Convolutions and pooling: what slides along the spatial axes of an image.
//!
//! Arrays are `[N, C, spatial…]`, kernels `[O, C/groups, kernel…]`, with any number of
//! spatial axes. Kernels are not flipped.
//!
//! Windows are views. A convolution is one matrix product of the kernels with the
//! windows, laid out as a matrix with a column for each place of the result; its
//! adjoint with respect to the images is another product, and a sum of slices. A
//! pool is a reduction of the windows and reads them where they are.

use backstitch_ir::{Const, DType, Monoid, Shape, Type, ops};

use crate::mistake::Problem;
use crate::tensor::Tensor;
use crate::trace::is_to_be_had;

/// A setting for all spatial axes at once, or for each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PerAxis<T> {
    /// The same for all axes.
    All(T),
    /// One for each axis.
    Each(Vec<T>),
}

impl<T: Copy> PerAxis<T> {
    /// The settings of that many axes, if there are as many.
    fn resolve(&self, axes: usize) -> Option<Vec<T>> {
        match self {
            Self::All(x) => Some(vec![*x; axes]),
            Self::Each(all) => (all.len() == axes).then(|| all.clone()),
        }
    }
}

impl<T> From<T> for PerAxis<T> {
    fn from(x: T) -> Self {
        Self::All(x)
    }
}

impl<T: Copy> From<&[T]> for PerAxis<T> {
    fn from(all: &[T]) -> Self {
        Self::Each(all.to_vec())
    }
}

impl<T, const N: usize> From<[T; N]> for PerAxis<T> {
    fn from(all: [T; N]) -> Self {
        Self::Each(all.into())
    }
}

impl<T> From<Vec<T>> for PerAxis<T> {
    fn from(all: Vec<T>) -> Self {
        Self::Each(all)
    }
}

/// The same margin before and after.
impl From<usize> for PerAxis<(usize, usize)> {
    fn from(n: usize) -> Self {
        Self::All((n, n))
    }
}

/// How a convolution slides: by default one step at a time, without margins, gaps
/// or groups.
///
/// ```
/// # use backstitch_trace::{Conv, DType, Trace};
/// let t = Trace::eager();
/// let images = t.ones(DType::F32, [8, 16, 28, 28]);
/// let kernels = t.ones(DType::F32, [32, 16, 3, 3]);
/// let y = images.conv(kernels, &Conv::default().stride(2).padding(1));
/// assert_eq!(y.shape().dims(), [8, 32, 14, 14]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conv {
    stride: PerAxis<usize>,
    padding: PerAxis<(usize, usize)>,
    dilation: PerAxis<usize>,
    output_padding: PerAxis<usize>,
    groups: usize,
}

impl Default for Conv {
    fn default() -> Self {
        Self {
            stride: PerAxis::All(1),
            padding: PerAxis::All((0, 0)),
            dilation: PerAxis::All(1),
            output_padding: PerAxis::All(0),
            groups: 1,
        }
    }
}

impl Conv {
    /// Steps from one window to the next.
    pub fn stride(mut self, stride: impl Into<PerAxis<usize>>) -> Self {
        self.stride = stride.into();
        self
    }

    /// Zeros `(before, after)` the elements; or one number for both.
    pub fn padding(mut self, padding: impl Into<PerAxis<(usize, usize)>>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Steps from one element of a window to the next.
    pub fn dilation(mut self, dilation: impl Into<PerAxis<usize>>) -> Self {
        self.dilation = dilation.into();
        self
    }

    /// The channels of images and results are cut into so many groups, each
    /// convolved for itself.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// For [`conv_transpose`](Tensor::conv_transpose) alone: elements more at the end.
    /// With a stride, images of several extents lead to the same result; this says
    /// which is meant.
    pub fn output_padding(mut self, more: impl Into<PerAxis<usize>>) -> Self {
        self.output_padding = more.into();
        self
    }
}

/// The windows of a pool: by default side by side, without margins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    window: PerAxis<usize>,
    stride: Option<PerAxis<usize>>,
    padding: PerAxis<(usize, usize)>,
    count_padding: bool,
}

impl Pool {
    /// Windows of that extent.
    pub fn new(window: impl Into<PerAxis<usize>>) -> Self {
        let (window, padding) = (window.into(), PerAxis::All((0, 0)));
        Self { window, stride: None, padding, count_padding: true }
    }

    /// Steps from one window to the next; the windows' extent, if not given.
    pub fn stride(mut self, stride: impl Into<PerAxis<usize>>) -> Self {
        self.stride = Some(stride.into());
        self
    }

    /// Elements `(before, after)` the others that are not there; or one number for
    /// both. Less than a window's extent.
    pub fn padding(mut self, padding: impl Into<PerAxis<(usize, usize)>>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Whether a mean counts the padding as zeros (as by default) or leaves it out.
    #[doc(alias = "count_include_pad")]
    pub fn count_padding(mut self, count: bool) -> Self {
        self.count_padding = count;
        self
    }
}

/// Places of a kernel up to which they are added up one by one where each channel
/// has its own.
const UNROLLED: usize = 64;

/// One spatial axis.
#[derive(Clone, Copy)]
struct Slide {
    size: usize,
    stride: usize,
    dilation: usize,
    padding: (usize, usize),
}

impl Slide {
    /// From the first to the last element of a window.
    fn reach(self) -> Option<usize> {
        self.size.checked_sub(1)?.checked_mul(self.dilation)
    }

    /// Whether a window fits into an axis of that extent.
    fn fits(self, extent: usize) -> bool {
        let padded = extent.checked_add(self.padding.0).and_then(|n| n.checked_add(self.padding.1));
        self.stride > 0
            && self.dilation > 0
            && padded.is_some_and(|n| self.reach().is_some_and(|reach| reach < n))
    }
}

impl<'t> Tensor<'t> {
    /// Correlation of `[N, C, spatial…]` with kernels `[O, C/groups, kernel…]`, which are
    /// not flipped. Along each spatial axis the result has
    /// `(n + padding - dilation·(kernel - 1) - 1) / stride + 1` elements.
    ///
    /// ```
    /// # use backstitch_trace::{Conv, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0, 4.0, 8.0])).reshape([1, 1, 4]);
    /// let w = t.constant(ndarray::arr1(&[-1.0, 1.0])).reshape([1, 1, 2]);
    /// let y = x.conv(w, &Conv::default());
    /// assert_eq!(y.array()?.to_f64_vec(), [1.0, 2.0, 4.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "conv1d")]
    #[doc(alias = "conv2d")]
    #[doc(alias = "conv_general_dilated")]
    pub fn conv(self, kernels: Tensor<'t>, how: &Conv) -> Self {
        let _line = self.trace.line();
        let slides = match self.slides("conv", kernels, how, 1) {
            Ok(slides) => slides,
            Err(poisoned) => return poisoned,
        };
        let dims = self.ty().shape;
        if let Some(i) = (0..slides.len()).find(|&i| !slides[i].fits(dims.dims()[i + 2])) {
            let Slide { size, stride, dilation, .. } = slides[i];
            let message = format!(
                "a kernel of extent {size} with stride {stride} and dilation {dilation} over an axis of \
                 extent {}",
                dims.dims()[i + 2]
            );
            return self.wrong("conv", kernels, message);
        }
        let margins = slides.iter().map(|s| s.padding);
        let padded = self.pad([(0, 0); 2].into_iter().chain(margins).collect::<Vec<_>>(), 0);
        padded.correlate(kernels, &slides, how.groups)
    }

    /// The adjoint of [`conv`](Self::conv) with respect to its images: from
    /// `[N, O, spatial…]` and the same kernels `[O, C/groups, kernel…]` to
    /// `[N, C, spatial…]`. Along each spatial axis the result has
    /// `stride·(n - 1) + dilation·(kernel - 1) + 1 - padding + output_padding` elements.
    ///
    /// ```
    /// # use backstitch_trace::{Conv, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 2.0])).reshape([1, 1, 2]);
    /// let w = t.constant(ndarray::arr1(&[1.0, 10.0])).reshape([1, 1, 2]);
    /// let y = x.conv_transpose(w, &Conv::default().stride(2));
    /// assert_eq!(y.array()?.to_f64_vec(), [1.0, 10.0, 2.0, 20.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "deconvolution")]
    pub fn conv_transpose(self, kernels: Tensor<'t>, how: &Conv) -> Self {
        let _line = self.trace.line();
        let slides = match self.slides("conv_transpose", kernels, how, 0) {
            Ok(slides) => slides,
            Err(poisoned) => return poisoned,
        };
        let spatial = slides.len();
        let more = how.output_padding.resolve(spatial);
        let (shape, kt) = (self.ty().shape, kernels.ty());
        let mut axes = vec![ops::PadAxis::NONE; 2];
        let mut cuts = Vec::new();
        for (i, s) in slides.iter().enumerate() {
            let n = shape.dims()[i + 2];
            let Some((reach, more)) = s.reach().zip(more.as_ref().map(|m| m[i])) else {
                return self.wrong("conv_transpose", kernels, "an output padding per axis".into());
            };
            let (before, after) = s.padding;
            let long = n.checked_sub(1).and_then(|n| n.checked_mul(s.stride)?.checked_add(reach));
            let long = long.and_then(|n| n.checked_add(more)?.checked_add(1));
            let least = before.saturating_add(after);
            if s.stride == 0 || s.dilation == 0 || long.is_none_or(|long| long <= least) {
                let message = format!("nothing is left of axis {} of {shape}", i + 2);
                return self.wrong("conv_transpose", kernels, message);
            }
            // What is to be cut off is not made.
            let hi = (reach + more).saturating_sub(after);
            axes.push(ops::PadAxis { lo: reach.saturating_sub(before), hi, inner: s.stride - 1 });
            cuts.push((before.saturating_sub(reach), after.saturating_sub(reach + more)));
        }
        let value = Const::of_float(self.dtype(), 0.0);
        let mut wide = self.trace.apply(ops::Pad { axes: axes.into(), value }, &[self]);
        for (i, &(before, after)) in cuts.iter().enumerate() {
            let n = wide.shape().dims()[i + 2];
            wide = wide.slice(i as i32 + 2, before as i64..(n - after) as i64, 1);
        }
        // [O, C/groups, …] to [C, O/groups, …], flipped.
        let (groups, dims) = (how.groups, kt.dims());
        let (each_out, each_in, places) = (dims[0] / groups, dims[1], &dims[2..]);
        let split: Shape = [groups, each_out, each_in].iter().chain(places).copied().collect();
        let joined: Shape = [groups * each_in, each_out].iter().chain(places).copied().collect();
        let spatial_axes: Vec<i32> = (2..2 + spatial as i32).collect();
        let turned = kernels.reshape(split).swap_axes(1, 2).reshape(joined).flip(&spatial_axes);
        let slides: Vec<Slide> = slides.iter().map(|s| Slide { stride: 1, ..*s }).collect();
        wide.correlate(turned, &slides, groups)
    }

    /// The largest element of each window of `[N, C, spatial…]`; padding is left out.
    /// Equal elements share the derivative equally; NaN propagates.
    ///
    /// ```
    /// # use backstitch_trace::{Pool, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 3.0, 2.0, 0.0])).reshape([1, 1, 4]);
    /// assert_eq!(x.max_pool(&Pool::new(2)).array()?.to_f64_vec(), [3.0, 2.0]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "max_pool1d")]
    #[doc(alias = "max_pool2d")]
    pub fn max_pool(self, how: &Pool) -> Self {
        let _line = self.trace.line();
        let least = match self.dtype() {
            DType::Bool => Const::of_int(DType::Bool, 0),
            dtype => Monoid::Max.identity(dtype),
        };
        match self.pooled("max_pool", how, Monoid::Max, least) {
            Ok((pooled, _)) => pooled,
            Err(poisoned) => poisoned,
        }
    }

    /// The mean of each window of `[N, C, spatial…]`, with the padding counted as
    /// zeros or left out.
    ///
    /// ```
    /// # use backstitch_trace::{Pool, Trace};
    /// let t = Trace::eager();
    /// let x = t.constant(ndarray::arr1(&[1.0, 3.0, 2.0])).reshape([1, 1, 3]);
    /// let edges = Pool::new(2).padding(1);
    /// assert_eq!(x.avg_pool(&edges).array()?.to_f64_vec(), [0.5, 2.5]);
    /// let y = x.avg_pool(&edges.count_padding(false));
    /// assert_eq!(y.array()?.to_f64_vec(), [1.0, 2.5]);
    /// # Ok::<(), backstitch_trace::TraceError>(())
    /// ```
    #[track_caller]
    #[doc(alias = "avg_pool1d")]
    #[doc(alias = "avg_pool2d")]
    pub fn avg_pool(self, how: &Pool) -> Self {
        let _line = self.trace.line();
        if let Err(poisoned) = self.floats("avg_pool") {
            return poisoned;
        }
        let zero = Const::of_float(self.dtype(), 0.0);
        let (sum, slides) = match self.pooled("avg_pool", how, Monoid::Sum, zero) {
            Ok(found) => found,
            Err(poisoned) => return poisoned,
        };
        let shape = sum.shape();
        if how.count_padding || slides.iter().all(|s| s.padding == (0, 0)) {
            let count: usize = slides.iter().map(|s| s.size).product();
            return sum / count as f64;
        }
        if !shape.dims()[2..].iter().all(|&n| is_to_be_had(&Type::new(DType::F64, [n]))) {
            let message = format!("windows {shape} are too many to be counted");
            return self.mistake("avg_pool", Problem::Shape, message, sum.ty());
        }
        // Elements of a window that are there: a product over the axes.
        let extents = self.shape();
        slides.iter().enumerate().fold(sum, |mean, (i, s)| {
            let (n, windows) = (extents.dims()[i + 2], shape.dims()[i + 2]);
            let (first, last) = (s.padding.0, s.padding.0 + n);
            let there = |w: usize| {
                let (from, to) = (w * s.stride, w * s.stride + s.size);
                to.min(last).saturating_sub(from.max(first)) as f64
            };
            let counts: ndarray::Array1<f64> = (0..windows).map(there).collect();
            let counts = self.trace.constant(counts).cast(self.dtype());
            mean / counts.spread(&shape, &[i + 2])
        })
    }

    /// Windows reduced where they are, and how they slide.
    #[track_caller]
    fn pooled(
        self,
        operation: &'static str,
        how: &Pool,
        monoid: Monoid,
        fill: Const,
    ) -> Result<(Self, Vec<Slide>), Self> {
        let ty = self.ty();
        let wrong = |message: String| self.mistake(operation, Problem::Shape, message, ty.clone());
        let spatial = ty.rank().saturating_sub(2);
        if spatial == 0 || ty.dtype == DType::Bool {
            return Err(wrong(format!("expected numbers [N,C,…], got {ty}")));
        }
        let stride = how.stride.as_ref().unwrap_or(&how.window).resolve(spatial);
        let all = how.window.resolve(spatial).zip(stride).zip(how.padding.resolve(spatial));
        let Some(((window, stride), padding)) = all else {
            return Err(wrong(format!(
                "expected a window, stride and padding for each of {spatial} axes"
            )));
        };
        let slides: Vec<Slide> = (0..spatial)
            .map(|i| Slide { size: window[i], stride: stride[i], dilation: 1, padding: padding[i] })
            .collect();
        for (i, s) in slides.iter().enumerate() {
            let n = ty.dims()[i + 2];
            if !s.fits(n) || s.padding.0.max(s.padding.1) >= s.size {
                let Slide { size, stride, padding: (before, after), .. } = s;
                return Err(wrong(format!(
                    "a window of extent {size} with stride {stride} and padding {before} and {after} over \
                     an axis of extent {n}"
                )));
            }
        }
        let mut axes = vec![ops::PadAxis::NONE; 2];
        axes.extend(slides.iter().map(|s| ops::PadAxis {
            lo: s.padding.0,
            hi: s.padding.1,
            inner: 0,
        }));
        let padded = match slides.iter().all(|s| s.padding == (0, 0)) {
            true => self,
            false => self.trace.apply(ops::Pad { axes: axes.into(), value: fill }, &[self]),
        };
        let windows = padded.windows(&slides);
        let places: Vec<usize> = (ty.rank()..ty.rank() + spatial).collect();
        Ok((windows.reduce(monoid, &places), slides))
    }

    /// `[N, C, spatial…]` to `[N, C, windows…, places…]`.
    #[track_caller]
    fn windows(self, slides: &[Slide]) -> Self {
        slides.iter().enumerate().fold(self, |x, (i, s)| {
            let Slide { size, stride, dilation, .. } = *s;
            x.trace.apply(ops::Window { axis: i + 2, size, stride, dilation }, &[x])
        })
    }

    /// One matrix product of kernels and windows, per group.
    #[track_caller]
    fn correlate(self, kernels: Tensor<'t>, slides: &[Slide], groups: usize) -> Self {
        let windows = self.windows(slides);
        let (shape, kt, spatial) = (windows.shape(), kernels.ty(), slides.len());
        let (images, outputs) = (shape.dims()[0], kt.dims()[0]);
        let (counts, places) = shape.dims()[2..].split_at(spatial);
        let each_in = kt.dims()[1];
        let each_out = outputs / groups;
        let size = places.iter().product::<usize>();
        if each_in == 1 && each_out == 1 && size <= UNROLLED {
            return windows.weighted(kernels, spatial);
        }
        // [N, groups, C/groups, windows…, places…] to groups of matrices with a row for
        // each place of each channel.
        let split: Shape =
            [images, groups, each_in].iter().chain(counts).chain(places).copied().collect();
        let order: Vec<i32> = [1, 2]
            .into_iter()
            .chain(3 + spatial as i32..3 + 2 * spatial as i32)
            .chain([0])
            .chain(3..3 + spatial as i32)
            .collect();
        let rows = each_in * size;
        let columns = images * counts.iter().product::<usize>();
        let matrix = windows.reshape(split).permute(order).reshape([groups, rows, columns]);
        let kernels = kernels.reshape([groups, each_out, rows]);
        let one = |axis: usize| [axis].into_iter().collect::<ops::Axes>();
        let product = ops::Contract { batch: [one(0), one(0)], over: [one(2), one(1)] };
        let result = self.trace.apply(product, &[kernels, matrix]);
        // [groups, O/groups, N, windows…] to [N, O, windows…].
        let split: Shape = [groups, each_out, images].iter().chain(counts).copied().collect();
        let order: Vec<i32> = [2, 0, 1].into_iter().chain(3..3 + spatial as i32).collect();
        let joined: Shape = [images, outputs].iter().chain(counts).copied().collect();
        result.reshape(split).permute(order).reshape(joined)
    }

    /// Windows of channels that have a kernel each, which gives one channel: nothing
    /// is shared that a matrix product could use, so the places are added up.
    #[track_caller]
    fn weighted(self, kernels: Tensor<'t>, spatial: usize) -> Self {
        let (shape, channels) = (self.shape(), kernels.shape().dims()[0]);
        let (result, places) = shape.dims().split_at(2 + spatial);
        let (result, size) = (Shape::from(result), places.iter().product::<usize>());
        let kernels = kernels.reshape([channels, size]);
        let part = |k: usize| {
            let (mut at, mut x) = (k, self);
            for (i, &n) in places.iter().enumerate().rev() {
                x = x.index((2 + spatial + i) as i32, (at % n) as i64);
                at /= n;
            }
            x * kernels.index(1, k as i64).spread(&result, &[1])
        };
        let sum = (0..size).map(part).reduce(|a, b| a + b);
        sum.expect("a kernel has places")
    }

    /// How the kernels slide, if all fits together; axis 1 of `self` is that of the
    /// kernels' axis `channels`.
    #[track_caller]
    fn slides(
        self,
        operation: &'static str,
        kernels: Tensor<'t>,
        how: &Conv,
        channels: usize,
    ) -> Result<Vec<Slide>, Self> {
        let (xt, kt) = (self.ty(), kernels.ty());
        let wrong = |message: String| Err(self.wrong(operation, kernels, message));
        if xt.rank() < 3 || kt.rank() != xt.rank() || xt.dtype != kt.dtype || !xt.is_float() {
            return wrong(format!("expected floats [N,C,…] and [O,C/groups,…], got {xt} and {kt}"));
        }
        let groups = how.groups;
        let wanted = match channels {
            0 => Some(kt.dims()[0]),
            _ => kt.dims()[1].checked_mul(groups),
        };
        if groups == 0 || kt.dims()[0] % groups != 0 || wanted != Some(xt.dims()[1]) {
            return wrong(format!("{xt} and kernels {kt} do not fit together in {groups} groups"));
        }
        let spatial = xt.rank() - 2;
        let settings = how.stride.resolve(spatial).zip(how.padding.resolve(spatial));
        let Some(((stride, padding), dilation)) = settings.zip(how.dilation.resolve(spatial))
        else {
            return wrong(format!(
                "expected a stride, padding and dilation for each of {spatial} axes"
            ));
        };
        let slide = |i: usize| Slide {
            size: kt.dims()[i + 2],
            stride: stride[i],
            dilation: dilation[i],
            padding: padding[i],
        };
        Ok((0..spatial).map(slide).collect())
    }

    #[track_caller]
    fn wrong(self, operation: &'static str, kernels: Tensor<'t>, message: String) -> Self {
        let guess: Type = self.ty();
        self.trace.mistake(operation, Problem::Shape, message, &[self, kernels], guess)
    }
}
