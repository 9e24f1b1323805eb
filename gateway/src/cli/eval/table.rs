//! Tables of figures: a name, then numbers.

use comfy_table::{CellAlignment, Table, TableStyle};

/// A table whose columns after the first are numbers.
pub(super) fn table<const N: usize>(
    style: TableStyle,
    header: &[&str; N],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(*header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}
