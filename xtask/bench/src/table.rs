//! The results for people: tables in the terminal, and the README's.

use comfy_table::{CellAlignment, Table, TableStyle, presets};

use crate::report::{Report, Spread, Summary};

/// The README's figures stand between these lines.
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

/// All tables, for the terminal.
pub(crate) fn terminal(report: &Report) -> String {
    let mut bars = table(presets::UTF8_HORIZONTAL_ONLY, ["bar", "measured", "met"]);
    for bar in &report.bars {
        bars.add_row([bar.asked.as_str(), &bar.measured, if bar.met { "yes" } else { "NO" }]);
    }
    format!(
        "{}\n\n{}\n\n{bars}\n",
        figures(report, presets::UTF8_HORIZONTAL_ONLY),
        footprints(report, presets::UTF8_HORIZONTAL_ONLY)
    )
}

/// `readme` with the figures between the markers replaced. Errors when the markers are not there.
pub(crate) fn with_figures(readme: &str, report: &Report) -> Result<String, String> {
    let missing = || format!("README.md has no lines {BEGIN} and {END}");
    let (before, rest) = readme.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    let machine = &report.machine;
    let about = format!(
        "{} with {} processors, {}; load generator on the same machine; commit {}; medians of {} rounds (least to \
         greatest); server CPU is that of all nodes.",
        machine.processor, machine.processors, machine.kernel, machine.commit, report.rounds
    );
    let figures = figures(report, presets::ASCII_MARKDOWN);
    let footprints = footprints(report, presets::ASCII_MARKDOWN);
    Ok(format!("{before}{BEGIN}\n{about}\n\n{figures}\n\n{footprints}\n{END}{after}"))
}

fn figures(report: &Report, style: TableStyle) -> Table {
    let headings = [
        "server",
        "operation",
        "in flight",
        "per second",
        "p50 µs",
        "p95 µs",
        "p99 µs",
        "server CPU µs",
        "load CPU µs",
    ];
    let mut table = table(style, headings);
    for result in &report.cells {
        let cell = result.cell;
        let operation = format!("{} {} KiB", cell.operation, cell.body_bytes / 1024);
        let names = [cell.server.to_string(), operation, cell.in_flight.to_string()];
        let cpu =
            [result.summary.cpu_us, result.summary.load_cpu_us].map(|spread| format!("{:.0}", spread.median));
        table.add_row(names.into_iter().chain(values(&result.summary)).chain(cpu));
    }
    for result in &report.disk {
        let names =
            ["disk".to_owned(), format!("append 1 KiB + {:?}", result.sync).to_lowercase(), "1".to_owned()];
        table.add_row(names.into_iter().chain(values(&result.summary)).chain([String::new(), String::new()]));
    }
    right(&mut table, 2);
    table
}

fn values(summary: &Summary) -> [String; 4] {
    let Spread { median, min, max } = summary.per_second;
    let micros = |spread: Spread| format!("{:.0}", spread.median);
    let rate = format!("{median:.0} ({min:.0} to {max:.0})");
    [rate, micros(summary.p50_us), micros(summary.p95_us), micros(summary.p99_us)]
}

fn footprints(report: &Report, style: TableStyle) -> Table {
    let headings = ["server", "start ms", "idle MiB", "peak MiB", "idle CPU ms/s"];
    let mut table = table(style, headings);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1024.0 * 1024.0));
    for footprint in &report.footprints {
        table.add_row([
            footprint.server.to_string(),
            format!("{:.0}", footprint.start_ms),
            mib(footprint.idle_bytes),
            mib(footprint.peak_bytes),
            format!("{:.1}", footprint.idle_cpu_ms),
        ]);
    }
    right(&mut table, 1);
    table
}

fn table<const N: usize>(style: TableStyle, headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_header(headings);
    table
}

fn right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_readme_without_markers_is_left_alone() {
        let report = crate::run::tests::empty_report();
        assert!(super::with_figures("# Title\n", &report).is_err());
        let readme = "# Title\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nrest\n";
        let new = super::with_figures(readme, &report).unwrap();
        assert!(
            new.starts_with("# Title\n<!-- bench: begin -->\n")
                && new.ends_with("<!-- bench: end -->\nrest\n")
        );
        assert!(!new.contains("old"));
    }
}
