//! The files: all samples as JSON, and a plot.

use crate::plan::{Layout, Plan};
use crate::report::{Case, cases};
use crate::results::{ColdStart, Results, Run};
use crate::stats::count;
use crate::subject::CONCURRENCY;
use anyhow::{Context, Result, anyhow};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use std::fs;
use std::path::Path;

/// Writes all samples to `result.json`.
pub(crate) fn write_json(plan: &Plan, results: &Results) -> Result<()> {
    fs::create_dir_all(&plan.output).with_context(|| format!("make {}", plan.output.display()))?;
    let path = plan.output.join("result.json");
    let json = serde_json::to_string_pretty(results)?;
    fs::write(&path, json + "\n").with_context(|| format!("write {}", path.display()))
}

/// Draws the time for an app by the number of apps, bare and with the controller, to `result.svg`.
pub(crate) fn write_plot(plan: &Plan, results: &Results) -> Result<()> {
    let cases = cases(&results.cold_start);
    // One concurrency in a plot: the controller's own where it was measured.
    let is_default = |case: &Case<'_>| case.concurrency == CONCURRENCY;
    let concurrency = if cases.iter().any(is_default) {
        CONCURRENCY
    } else {
        match cases.first() {
            Some(case) => case.concurrency,
            None => return Ok(()),
        }
    };
    let cases: Vec<_> = cases.into_iter().filter(|case| case.concurrency == concurrency).collect();
    let path = plan.output.join("result.svg");
    draw(&path, &cases, concurrency).map_err(|error| anyhow!("draw {}: {error}", path.display()))
}

fn draw(path: &Path, cases: &[Case<'_>], concurrency: usize) -> Result<(), Box<dyn std::error::Error>> {
    let most = count(cases.iter().map(|case| case.apps).max().unwrap_or(1));
    let times =
        cases.iter().flat_map(|case| [per_app(case, ColdStart::bare), per_app(case, ColdStart::controller)]);
    let longest = times.fold(0.0, f64::max);
    let root = SVGBackend::new(path, (900, 540)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("Cold start, {concurrency} apps at once"), ("sans-serif", 22))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..most * 1.05, 0.0..longest * 1.2)?;
    let whole = |apps: &f64| format!("{apps:.0}");
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("apps").x_label_formatter(&whole).y_desc("milliseconds per app").max_light_lines(0).draw()?;
    for (index, layout) in [Layout::One, Layout::Ten, Layout::Each].into_iter().enumerate() {
        let of_layout = || cases.iter().filter(move |case| case.layout == layout);
        if of_layout().next().is_none() {
            continue;
        }
        // Red, green, blue; the third of the palette is a yellow that is hard to see on white.
        let color = Palette99::pick(if index == 2 { 3 } else { index }).to_rgba();
        let name = match layout {
            Layout::One => "one namespace",
            Layout::Ten => "ten apps a namespace",
            Layout::Each => "a namespace each",
        };
        let points = of_layout().map(|case| (count(case.apps), per_app(case, ColdStart::controller)));
        let line = LineSeries::new(points, color.stroke_width(2)).point_size(4);
        let legend = move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(2));
        chart.draw_series(line)?.label(format!("controller, {name}")).legend(legend);
        let points = of_layout().map(|case| (count(case.apps), per_app(case, ColdStart::bare)));
        let line = DashedLineSeries::new(points, 6, 5, color.stroke_width(2));
        let legend = move |(x, y)| DashedPathElement::new([(x, y), (x + 24, y)], 6, 5, color.stroke_width(2));
        chart.draw_series(line)?.label(format!("bare loop, {name}")).legend(legend);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .legend_area_size(30)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

/// Milliseconds.
fn per_app(case: &Case<'_>, run: fn(&ColdStart) -> &Run) -> f64 {
    1e3 * case.per_app(run)
}
