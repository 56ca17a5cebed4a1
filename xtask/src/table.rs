//! The one look of every table that xtask prints: Markdown, so that it can be pasted into an issue.

use comfy_table::{CellAlignment, Table, presets};

/// An empty table with these columns; the first is left-aligned, the others are numbers.
pub(crate) fn with_columns(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
