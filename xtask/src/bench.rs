//! `cargo xtask bench`: prints each figure beside its floor, which is measured in the same run, and
//! judges it by its bar.

use clap::Args;
use comfy_table::Table;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::table;

#[derive(Args, Debug, Default)]
pub(crate) struct Arguments {
    /// Names of the figures to measure; all if none is given
    names: Vec<String>,
    /// Prints JSON lines instead of the table
    #[arg(long)]
    json: bool,
    /// Fails if a figure is short of its bar
    #[arg(long)]
    check: bool,
}

/// A line of the benchmark program's output.
#[derive(Debug, Deserialize)]
struct Figure {
    name: String,
    ours_ns: Option<f64>,
    floor_ns: Option<f64>,
    ratio: Option<f64>,
    bar: Option<f64>,
    ok: bool,
    /// The value of a figure that is a count of `unit` and not a time.
    count: Option<f64>,
    unit: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    eprintln!("measuring; this takes a while and needs an idle machine");
    let command = Cmd::cargo(&["run", "--release", "-q", "-p", "session-bench", "--bin", "figures", "--"])
        .args(&arguments.names);
    let output = command.capture()?;
    let figures = parse(&output).map_err(|error| command.unreadable(&error))?;
    if figures.is_empty() {
        return Err(Error::NoFigures);
    }
    if arguments.json {
        print!("{output}");
    } else {
        println!("{}", render(&figures));
    }
    let short = short(&figures);
    if arguments.check && !short.is_empty() { Err(Error::Short { names: short.join(" ") }) } else { Ok(()) }
}

fn parse(lines: &str) -> serde_json::Result<Vec<Figure>> {
    lines.lines().filter(|line| !line.trim().is_empty()).map(serde_json::from_str).collect()
}

fn short(figures: &[Figure]) -> Vec<&str> {
    figures.iter().filter(|figure| !figure.ok).map(|figure| figure.name.as_str()).collect()
}

fn render(figures: &[Figure]) -> Table {
    let mut table = table::with_columns(&["name", "ours", "floor", "ratio", "bar", "verdict"]);
    for figure in figures {
        table.add_row(figure.row());
    }
    table
}

impl Figure {
    fn row(&self) -> [String; 6] {
        let verdict = if self.ok { "ok" } else { "SHORT" };
        let [ours, floor, ratio, bar] = self.values();
        [self.name.clone(), ours, floor, ratio, bar, verdict.to_owned()]
    }

    fn values(&self) -> [String; 4] {
        if let Some(count) = self.count {
            let counted = |value: f64| self.counted(value);
            return [counted(count), cell(None, time), cell(None, ratio), cell(self.bar, counted)];
        }
        [cell(self.ours_ns, time), cell(self.floor_ns, time), cell(self.ratio, ratio), cell(self.bar, ratio)]
    }

    fn counted(&self, value: f64) -> String {
        self.unit.as_ref().map_or_else(|| value.to_string(), |unit| format!("{value} {unit}"))
    }
}

fn cell(value: Option<f64>, format: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), format)
}

fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = concat!(
        r#"{"name":"validate_memory","ours_ns":912.4,"floor_ns":401.0,"ratio":2.275,"bar":3.0,"ok":true}"#,
        "\n\n",
        r#"{"name":"validate_allocations","ours_ns":null,"floor_ns":null,"ratio":null,"bar":4,"ok":false,"#,
        r#""count":5,"unit":"allocations"}"#,
        "\n",
    );

    fn cells(figure: &Figure) -> String {
        figure.row().join("|")
    }

    #[test]
    fn a_time_is_shown_beside_its_floor() {
        let figures = parse(LINES).unwrap();
        assert_eq!(cells(&figures[0]), "validate_memory|912 ns|401 ns|2.27|3.00|ok");
    }

    #[test]
    fn a_count_is_shown_beside_its_bar() {
        let figures = parse(LINES).unwrap();
        assert_eq!(cells(&figures[1]), "validate_allocations|5 allocations|-|-|4 allocations|SHORT");
    }

    #[test]
    fn absent_values_are_accepted_and_shown_as_absent() {
        let figures = parse(r#"{"name":"loads","count":12,"bar":10,"ok":true}"#).unwrap();
        assert_eq!(cells(&figures[0]), "loads|12|-|-|10|ok");
    }

    #[test]
    fn figures_below_their_bar_are_named() {
        assert_eq!(short(&parse(LINES).unwrap()), ["validate_allocations"]);
    }

    #[test]
    fn invalid_json_is_an_error() {
        assert!(parse("Compiling session-bench\n").is_err());
    }

    #[test]
    fn every_figure_has_a_line_in_the_table() {
        let text = render(&parse(LINES).unwrap()).to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
    }

    #[test]
    fn times_are_shown_in_a_readable_unit() {
        assert_eq!(
            [time(80.4), time(1_250.0), time(3.5e6), time(2e9)],
            ["80 ns", "1.25 µs", "3.50 ms", "2.00 s"]
        );
    }
}
