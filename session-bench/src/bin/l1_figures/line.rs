//! One figure of one candidate, and tables of them.

use serde::Serialize;

/// A figure.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    /// What was done.
    pub(crate) case: String,
    /// Who did it.
    pub(crate) candidate: &'static str,
    /// The figure.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: &'static str,
    /// The figure divided by that of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// How far the middle half of the rounds is apart, as part of the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<f64>,
}

impl Line {
    /// Makes the lines of a case: the candidate with this name is the floor.
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
