//! Line plots as SVG, for reports that people look at.
//!
//! Enough for a quality curve and no more: two axes from given ranges, lines, one band, marked points, a level.
//! Colours follow the viewer's light or dark setting; where a viewer knows neither, the light ones hold. Left out:
//! scaling that depends on the data, since a report that is compared with another needs the same axes.

use std::fmt::Write as _;

/// Width and height of the picture, and the box of the axes in it: left, top, right, bottom.
const SIZE: (f64, f64) = (760.0, 510.0);
const FRAME: (f64, f64, f64, f64) = (72.0, 48.0, 736.0, 388.0);

const STYLE: &str = "\
.paper{fill:#fff}text{font-family:'Helvetica Neue',Arial,'DejaVu Sans',sans-serif;font-size:13px;fill:#1f2937}.title{font-size:16px;font-weight:600}\
.grid{stroke:#e2e5ea}.axis{stroke:#6b7280}.band{fill:#2563eb;fill-opacity:.16}\
.line{fill:none;stroke-width:2}.main{stroke:#1d4ed8}.other{stroke:#b45309;stroke-dasharray:7 4}\
.chance{stroke:#6b7280;stroke-dasharray:2 4}.level{stroke:#047857;stroke-dasharray:10 4}\
.mark{fill:#be123c;stroke:#fff;stroke-width:2}\
@media(prefers-color-scheme:dark){.paper{fill:#111827}text{fill:#e5e7eb}.grid{stroke:#2b3545}.axis{stroke:#9ca3af}\
.band{fill:#60a5fa;fill-opacity:.22}.main{stroke:#60a5fa}.other{stroke:#fbbf24}.chance{stroke:#9ca3af}\
.level{stroke:#34d399}.mark{fill:#fb7185;stroke:#111827}}";

/// What a line stands for, which is how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What the plot is about.
    Main,
    /// What it is compared with.
    Other,
    /// What chance would do.
    Chance,
    /// A level to reach.
    Level,
}

impl Role {
    const fn class(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Other => "other",
            Self::Chance => "chance",
            Self::Level => "level",
        }
    }
}

/// A line through points.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis from `low` to `high`; both are shares and are written as percentages.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) title: String,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A plot.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// x, low and high, with the name of the band; empty for none.
    pub(super) band: Vec<(f64, f64, f64)>,
    pub(super) band_name: String,
    /// A point and what it is.
    pub(super) mark: Option<((f64, f64), String)>,
}

impl Axis {
    /// An axis that holds every value, between whole tenths, and is at least a tenth long.
    pub(super) fn around(title: &str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let low = if low.is_finite() { (low * 10.0 + 1e-9).floor() / 10.0 } else { 0.0 };
        let high = if high.is_finite() { (high * 10.0 - 1e-9).ceil() / 10.0 } else { 1.0 };
        Self { title: title.to_owned(), low, high: high.max(low + 0.1) }
    }

    /// Distance of the ticks: at most eleven of them.
    fn step(&self) -> f64 {
        let span = self.high - self.low;
        [0.01, 0.02, 0.05, 0.1, 0.2, 0.5].into_iter().find(|step| span / step < 10.5).unwrap_or(span / 10.0)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "eleven ticks at most")]
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (low, step) = (self.low, self.step());
        let count = ((self.high - low) / step + 1e-6).floor() as u32;
        (0..=count).map(move |tick| low + f64::from(tick) * step)
    }

    /// Place of a value between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

impl Plot {
    /// The picture.
    pub(super) fn render(&self) -> String {
        let mut svg = String::new();
        self.write(&mut svg).expect("writing to a string does not fail");
        svg
    }

    fn write(&self, svg: &mut String) -> std::fmt::Result {
        let (width, height) = SIZE;
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-labelledby="title">"#
        )?;
        writeln!(svg, r#"<title id="title">{}</title><style>{STYLE}</style>"#, escape(&self.title))?;
        writeln!(svg, r#"<rect class="paper" width="{width}" height="{height}"/>"#)?;
        let (left, top, right, bottom) = FRAME;
        writeln!(svg, r#"<text class="title" x="{left}" y="28">{}</text>"#, escape(&self.title))?;
        self.axes(svg)?;
        self.draw_band(svg)?;
        for line in &self.lines {
            let points: Vec<String> = line.points.iter().map(|&point| self.at(point)).collect();
            let (class, points) = (line.role.class(), points.join(" "));
            writeln!(svg, r#"<polyline class="line {class}" points="{points}"/>"#)?;
        }
        writeln!(svg, r#"<path class="axis" fill="none" d="M{left} {top}V{bottom}H{right}"/>"#)?;
        if let Some((point, _)) = &self.mark {
            let (x, y) = self.pixel(*point);
            writeln!(svg, r#"<circle class="mark" cx="{x:.1}" cy="{y:.1}" r="6"/>"#)?;
        }
        self.legend(svg)?;
        svg.push_str("</svg>\n");
        Ok(())
    }

    fn axes(&self, svg: &mut String) -> std::fmt::Result {
        let (left, top, right, bottom) = FRAME;
        for tick in self.x.ticks() {
            let (x, _) = self.pixel((tick, self.y.low));
            writeln!(svg, r#"<path class="grid" d="M{x:.1} {top}V{bottom}"/>"#)?;
            let y = bottom + 20.0;
            writeln!(svg, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{}</text>"#, percent(tick))?;
        }
        for tick in self.y.ticks() {
            let (_, y) = self.pixel((self.x.low, tick));
            writeln!(svg, r#"<path class="grid" d="M{left} {y:.1}H{right}"/>"#)?;
            let (x, y) = (left - 8.0, y + 4.5);
            writeln!(svg, r#"<text x="{x}" y="{y:.1}" text-anchor="end">{}</text>"#, percent(tick))?;
        }
        let (x, y) = (f64::midpoint(left, right), bottom + 42.0);
        writeln!(svg, r#"<text x="{x}" y="{y}" text-anchor="middle">{}</text>"#, escape(&self.x.title))?;
        let y = f64::midpoint(top, bottom);
        writeln!(
            svg,
            r#"<text transform="translate(18 {y}) rotate(-90)" text-anchor="middle">{}</text>"#,
            escape(&self.y.title)
        )
    }

    fn draw_band(&self, svg: &mut String) -> std::fmt::Result {
        if self.band.is_empty() {
            return Ok(());
        }
        let above = self.band.iter().map(|&(x, _, high)| self.at((x, high)));
        let below = self.band.iter().rev().map(|&(x, low, _)| self.at((x, low)));
        let points: Vec<String> = above.chain(below).collect();
        writeln!(svg, r#"<polygon class="band" points="{}"/>"#, points.join(" "))
    }

    /// Below the axes, where it hides nothing: two columns of up to three entries.
    fn legend(&self, svg: &mut String) -> std::fmt::Result {
        let (left, _, right, bottom) = FRAME;
        let mut entries: Vec<(String, &str)> = Vec::new();
        for line in &self.lines {
            let class = line.role.class();
            let shape = format!(r#"<path class="line {class}" d="M0 0H30"/>"#);
            entries.push((shape, &line.name));
        }
        if !self.band.is_empty() {
            entries.push((
                String::from(r#"<rect class="band" y="-6" width="30" height="12"/>"#),
                &self.band_name,
            ));
        }
        if let Some((_, name)) = &self.mark {
            entries.push((String::from(r#"<circle class="mark" cx="15" r="6"/>"#), name));
        }
        let places =
            (0..3_u8).flat_map(|row| (0..2_u8).map(move |column| (f64::from(column), f64::from(row))));
        for ((shape, name), (column, row)) in entries.iter().zip(places) {
            let (x, y) = (left + (right - left) / 2.0 * column, bottom + 64.0 + 20.0 * row);
            let name = escape(name);
            writeln!(
                svg,
                r#"<g transform="translate({x:.0} {y})">{shape}<text x="38" y="4.5">{name}</text></g>"#
            )?;
        }
        Ok(())
    }

    fn pixel(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (left, top, right, bottom) = FRAME;
        (left + (right - left) * self.x.place(x), bottom - (bottom - top) * self.y.place(y))
    }

    fn at(&self, point: (f64, f64)) -> String {
        let (x, y) = self.pixel(point);
        format!("{x:.1},{y:.1}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> Plot {
        Plot {
            title: String::from("a < b & \"c\""),
            x: Axis { title: String::from("x"), low: 0.0, high: 1.0 },
            y: Axis::around("y", [0.62, 0.8].into_iter()),
            lines: vec![Line {
                name: String::from("line"),
                role: Role::Main,
                points: vec![(0.0, 0.6), (1.0, 0.8)],
            }],
            band: vec![(0.0, 0.6, 0.7), (1.0, 0.7, 0.8)],
            band_name: String::from("band"),
            mark: Some(((0.5, 0.7), String::from("chosen"))),
        }
    }

    #[test]
    fn points_stand_where_the_axes_say() {
        let svg = plot().render();
        // From the lower left corner of the frame to the upper right one, and its middle.
        assert!(svg.contains(r#"<polyline class="line main" points="72.0,388.0 736.0,48.0"/>"#), "{svg}");
        assert!(svg.contains(r#"cx="404.0" cy="218.0""#), "{svg}");
        let on_y = |tick: &str| svg.contains(&format!("text-anchor=\"end\">{tick} %<"));
        assert!(on_y("60") && on_y("80") && !on_y("90") && !on_y("58"));
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"));
        assert!(svg.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn axes_hold_their_values_and_never_shrink_to_nothing() {
        let same = Axis::around("y", [0.7, 0.7].into_iter());
        assert!(same.low <= 0.7 && same.high >= same.low + 0.1 - 1e-12);
        let none = Axis::around("y", std::iter::empty());
        assert_eq!((none.low, none.high), (0.0, 1.0));
        let odd = Axis::around("y", [f64::NAN, 0.55].into_iter());
        assert!((odd.low - 0.5).abs() < 1e-12 && (odd.high - 0.6).abs() < 1e-12);
        assert!(none.ticks().count() <= 11 && same.ticks().count() <= 11);
    }
}
