//! One figure of one candidate, and tables of figures.

use serde::Serialize;

/// A figure.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// The measured case.
    pub(crate) case: String,
    /// The name of the candidate.
    pub(crate) candidate: &'static str,
    /// The figure.
    pub(crate) value: f64,
    /// The unit of the figure.
    pub(crate) unit: &'static str,
    /// The figure divided by the floor's figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// The interquartile range of the rounds, as a fraction of the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<f64>,
}

impl Line {
    /// Creates the lines of a case. The candidate named `floor` is the floor.
    pub(crate) fn beside(
        floor: &str,
        case: &str,
        unit: &'static str,
        figures: &[(&'static str, f64)],
    ) -> Vec<Self> {
        let below = figures.iter().find(|(name, _)| *name == floor).map(|(_, value)| *value);
        let line = |&(candidate, value): &(&'static str, f64)| Self {
            case: case.to_owned(),
            candidate,
            value,
            unit,
            ratio: below.filter(|below| *below > 0.0).map(|below| value / below),
            spread: None,
        };
        figures.iter().map(line).collect()
    }
}

/// Prints a table.
pub(crate) fn print(lines: &[Line]) {
    let mut last = "";
    for line in lines {
        if line.case != last {
            println!("\n{} ({})", line.case, line.unit);
            last = &line.case;
        }
        let ratio = line.ratio.map_or_else(String::new, |ratio| format!("{ratio:>8.2} x"));
        let spread = line.spread.map_or_else(String::new, |spread| format!("   +-{:.0} %", spread * 50.0));
        println!("  {:<24}{:>14.3}{ratio}{spread}", line.candidate, line.value);
    }
}
