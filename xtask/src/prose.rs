//! `cargo xtask prose`: what can be counted of plain English, for each member of the workspace.
//!
//! Three measures: words that stand for a technical term (CONTRIBUTING.md has the list with the terms), comment lines that are
//! too wide, and names of tests that are too long.

use std::collections::BTreeMap;
use std::fs;

use clap::Args;
use comfy_table::Table;

use crate::error::{Error, Result};
use crate::process::Cmd;
use crate::table;

/// Everyday words in place of a term of the field. Words with many good uses (`turn`, `gone`, `others`) are left to the reader.
const WORDS: &[&str] = &[
    "deaf",
    "excuse",
    "excused",
    "excuses",
    "heal",
    "healed",
    "heals",
    "hear",
    "heard",
    "hears",
    "mend",
    "mended",
    "mends",
    "nobody",
    "owed",
    "owes",
    "said",
    "saboteur",
    "saboteurs",
    "say",
    "saying",
    "says",
    "sighting",
    "sightings",
    "somebody",
    "spoil",
    "spoiled",
    "spoils",
    "tell",
    "telling",
    "tells",
    "told",
    "whoever",
];
const PHRASES: &[&str] = &["of ours", "sign of life", "signs of life", "throw-away"];

/// Most such words in 1,000 lines.
const MOST_WORDS: f64 = 0.5;

/// Columns of a comment, and the share of comment lines that may be wider.
const WIDTH: usize = 100;
const MOST_WIDE: f64 = 0.01;

/// Characters of a test's name.
const LONGEST_NAME: usize = 70;

#[derive(Args, Debug, Default)]
pub(crate) struct Arguments {
    /// Prints each line that is counted, of members whose name contains one of these; all of them if none is given
    #[arg(long, num_args = 0.., value_name = "MEMBER")]
    list: Option<Vec<String>>,
}

/// What was counted in a member.
#[derive(Debug, Default, PartialEq)]
struct Measure {
    lines: usize,
    comments: usize,
    words: usize,
    wide: usize,
    long_names: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut members: BTreeMap<String, Measure> = BTreeMap::new();
    for file in Cmd::new("git", &["ls-files", "*.rs"]).capture()?.lines() {
        // The list itself stands there.
        if file == "xtask/src/prose.rs" {
            continue;
        }
        let Ok(text) = fs::read_to_string(file) else { continue };
        let member = member_of(file);
        let shows = arguments
            .list
            .as_ref()
            .is_some_and(|names| names.is_empty() || names.iter().any(|name| member.contains(name.as_str())));
        let show = |number: usize, what: &str, line: &str| {
            if shows {
                println!("{file}:{number}: {what}: {}", line.trim());
            }
        };
        members.entry(member.to_owned()).or_default().add(&text, show);
    }
    println!("{}", render(&members));
    let odd: Vec<_> =
        members.iter().filter(|(_, measure)| !measure.is_plain()).map(|(name, _)| name.as_str()).collect();
    if odd.is_empty() { Ok(()) } else { Err(Error::Prose { members: odd.join(", ") }) }
}

/// The folder of a member: the first of a path, and two for an example.
fn member_of(file: &str) -> &str {
    let depth = if file.starts_with("examples/") { 2 } else { 1 };
    let end = file.match_indices('/').nth(depth - 1).map_or(file.len(), |(at, _)| at);
    &file[..end]
}

impl Measure {
    fn add(&mut self, text: &str, mut show: impl FnMut(usize, &str, &str)) {
        let mut is_test = false;
        for (index, line) in text.lines().enumerate() {
            self.lines += 1;
            let words = odd_words(line);
            if words > 0 {
                self.words += words;
                show(index + 1, "word", line);
            }
            if line.trim_start().starts_with("//") {
                self.comments += 1;
                if line.chars().count() > WIDTH && !line.contains("://") && !line.contains(" | ") {
                    self.wide += 1;
                    show(index + 1, "wide", line);
                }
            }
            if is_test && test_name(line).is_some_and(|name| name.len() > LONGEST_NAME) {
                self.long_names += 1;
                show(index + 1, "long name", line);
            }
            is_test =
                line.contains("test]") || line.contains("::test(") || (is_test && test_name(line).is_none());
        }
    }

    fn words_in_thousand(&self) -> f64 {
        rate(self.words, self.lines) * 1_000.0
    }

    fn wide_share(&self) -> f64 {
        rate(self.wide, self.comments)
    }

    fn is_plain(&self) -> bool {
        self.words_in_thousand() <= MOST_WORDS && self.wide_share() <= MOST_WIDE && self.long_names == 0
    }
}

fn rate(part: usize, whole: usize) -> f64 {
    let count = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    count(part) / count(whole.max(1))
}

/// How many of the words a line has, in comments, texts and names alike.
fn odd_words(line: &str) -> usize {
    let lower = line.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| WORDS.contains(word)).count();
    let spaced = lower.replace('_', " ");
    words + PHRASES.iter().map(|phrase| spaced.matches(phrase).count()).sum::<usize>()
}

/// The name in a line that begins a function.
fn test_name(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("fn ")?;
    rest.split(['(', '<']).next()
}

fn render(members: &BTreeMap<String, Measure>) -> Table {
    let mut table = table::with_columns(&[
        "member",
        "lines",
        "words per 1,000",
        "wide comments",
        "long test names",
        "verdict",
    ]);
    for (name, measure) in members {
        let verdict = if measure.is_plain() { "plain" } else { "ODD" };
        table.add_row([
            name,
            &measure.lines.to_string(),
            &format!("{:.1}", measure.words_in_thousand()),
            &format!("{:.1} %", measure.wide_share() * 100.0),
            &measure.long_names.to_string(),
            verdict,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_in_comments_and_names() {
        assert_eq!(odd_words("// Nobody is told."), 2);
        assert_eq!(odd_words("fn who_is_told_twice() {"), 1);
        assert_eq!(odd_words("// A throw-away server of ours"), 2);
        assert_eq!(odd_words("let essays = tellers;"), 0);
    }

    #[test]
    fn a_file_is_measured_line_by_line() {
        let wide = format!("// {}", "x".repeat(WIDTH));
        let long = format!("fn {}() {{}}", "a".repeat(LONGEST_NAME + 1));
        let text = format!("{wide}\n// short\n#[test]\n{long}\n{long}\n");
        let mut measure = Measure::default();
        measure.add(&text, |_, _, _| ());
        assert_eq!(measure, Measure { lines: 5, comments: 2, words: 0, wide: 1, long_names: 1 });
        assert!(!measure.is_plain());
    }

    #[test]
    fn a_member_is_a_folder_or_an_example() {
        assert_eq!(member_of("session-core/src/id.rs"), "session-core");
        assert_eq!(member_of("examples/axum-devices/src/main.rs"), "examples/axum-devices");
    }
}
