//! The format of all tables that xtask prints: Markdown, to be pasted into an issue.

use comfy_table::{CellAlignment, Table, presets};

/// Returns an empty table with these columns. The first is left-aligned, the others contain
/// numbers.
pub(crate) fn with_columns(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
