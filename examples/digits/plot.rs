//! The loss curve as a picture.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 540);
/// Losses below are drawn as this: the axis is logarithmic.
const FLOOR: f32 = 1e-4;

/// How the loss went.
#[derive(Default)]
pub struct Curves {
    steps: Vec<f32>,
    /// After so many steps, the loss on the test digits.
    tested: Vec<(usize, f32)>,
}

impl Curves {
    /// The loss of one step.
    pub fn step(&mut self, loss: f32) {
        self.steps.push(loss);
    }

    /// The loss on the test digits after an epoch.
    pub fn epoch(&mut self, loss: f32) {
        self.tested.push((self.steps.len(), loss));
    }

    /// Draws both as SVG.
    pub fn draw(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let all = || self.steps.iter().copied().chain(self.tested.iter().map(|t| t.1));
        let highest = all().fold(FLOOR, f32::max) * 1.5;
        let lowest = all().fold(highest, f32::min).max(FLOOR) / 1.5;
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("Handwritten digits: loss", ("sans-serif", 30))
            .margin(16)
            .x_label_area_size(52)
            .y_label_area_size(72)
            .build_cartesian_2d(0..self.steps.len(), (lowest..highest).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("training steps")
            .y_desc("mean cross entropy")
            .axis_desc_style(("sans-serif", 20))
            .label_style(("sans-serif", 18))
            .y_label_formatter(&|y| format!("{y:.3}"))
            .draw()?;
        let batches = self.steps.iter().enumerate().map(|(i, &y)| (i + 1, y.max(FLOOR)));
        let tested = self.tested.iter().map(|&(i, y)| (i, y.max(FLOOR)));
        let (thin, thick) = (BLUE.mix(0.6).stroke_width(1), RED.stroke_width(2));
        chart
            .draw_series(LineSeries::new(batches, thin))?
            .label("training batches")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], thin));
        chart
            .draw_series(LineSeries::new(tested, thick))?
            .label("test digits")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], thick));
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(BLACK)
            .label_font(("sans-serif", 18))
            .position(SeriesLabelPosition::UpperRight)
            .draw()?;
        root.present()?;
        Ok(())
    }
}
