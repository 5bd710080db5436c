//! Draws what `peers` measured: writes a second of each system, a panel for each number of clients, a row of them for
//! each size of values.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

const PANEL_GAP: f64 = 20.0;
const PANEL_HEIGHT: f64 = 190.0;
const ROW_HEIGHT: f64 = PANEL_HEIGHT + 80.0;
const MARGIN: f64 = 50.0;
const BAR_WIDTH: f64 = 24.0;
const BAR_STEP: f64 = BAR_WIDTH + 9.0;
/// quorum-node's colour, and that of all others.
const OURS: &str = "#2a6f97";
const OTHERS: &str = "#b8b8b8";

/// One bar.
struct Bar {
    system: String,
    median: f64,
    min: f64,
    max: f64,
}

/// The figures of a report, as its JSON has them, as an SVG.
pub(crate) fn svg(report: &Value) -> Result<String> {
    let rows = rows(report)?;
    let columns = rows.values().map(BTreeMap::len).max().unwrap_or(0);
    let bars = rows.values().flat_map(BTreeMap::values).map(Vec::len).max().unwrap_or(0);
    let panel_width = 12.0 + bars as f64 * BAR_STEP;
    let width = MARGIN + columns as f64 * (panel_width + PANEL_GAP);
    let height = 50.0 + rows.len() as f64 * ROW_HEIGHT;
    let mut out = String::new();
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{MARGIN}" y="18" font-size="13">Writes a second, three nodes: median of the rounds, with the smallest and the largest. nats-default and redis promise less.</text>"##
    )?;
    for (row, (value_bytes, panels)) in rows.iter().enumerate() {
        let top = 36.0 + row as f64 * ROW_HEIGHT;
        for (index, (clients, bars)) in panels.iter().enumerate() {
            let left = MARGIN + index as f64 * (panel_width + PANEL_GAP);
            let noun = if *clients == 1 { "client" } else { "clients" };
            let title = format!("{clients} {noun}, {value_bytes} bytes");
            let place = Place { left, top, width: panel_width };
            panel(&mut out, &place, &title, bars)?;
        }
    }
    out.push_str("</svg>\n");
    Ok(out)
}

/// Panels by size of values and number of clients.
type Rows = BTreeMap<u64, BTreeMap<u64, Vec<Bar>>>;

fn rows(report: &Value) -> Result<Rows> {
    let lines = report["summary"].as_array().context("no summary in the report")?;
    let mut rows = Rows::new();
    for line in lines {
        let rate = &line["writes_per_second"];
        let number = |name: &str| rate[name].as_f64().with_context(|| format!("no {name}"));
        let clients = line["clients"].as_u64().context("no number of clients")?;
        // Where there was one size only, it may stand above the lines instead of in each.
        let value_bytes = line["value_bytes"].as_u64().or_else(|| report["value_bytes"].as_u64());
        let value_bytes = value_bytes.context("no size of values")?;
        let system = line["system"].as_str().context("no system")?.to_owned();
        let bar =
            Bar { system, median: number("median")?, min: number("min")?, max: number("max")? };
        rows.entry(value_bytes).or_default().entry(clients).or_default().push(bar);
    }
    Ok(rows)
}

/// Where a panel is drawn.
struct Place {
    left: f64,
    top: f64,
    width: f64,
}

fn panel(out: &mut String, place: &Place, title: &str, bars: &[Bar]) -> Result<()> {
    let Place { left, top, width } = place;
    let bottom = top + 4.0 + PANEL_HEIGHT;
    let highest = bars.iter().map(|bar| bar.max).fold(1.0, f64::max);
    let y = |rate: f64| bottom - rate / highest * (PANEL_HEIGHT - 20.0);
    let right = left + width;
    writeln!(out, r##"<text x="{left:.0}" y="{top:.0}" fill="#444444">{title}</text>"##)?;
    writeln!(out, r##"<path d="M{left:.0} {bottom:.0}H{right:.0}" stroke="#444444"/>"##)?;
    for (index, Bar { system, median, min, max }) in bars.iter().enumerate() {
        let x = left + 6.0 + index as f64 * BAR_STEP;
        let (middle, top) = (x + BAR_WIDTH / 2.0, y(*median));
        let colour = if system == "quorum" { OURS } else { OTHERS };
        let tall = bottom - top;
        writeln!(
            out,
            r##"<rect x="{x:.1}" y="{top:.1}" width="{BAR_WIDTH}" height="{tall:.1}" fill="{colour}"/>
<path d="M{middle:.1} {:.1}V{:.1}" stroke="#222222"/>
<text x="{middle:.1}" y="{:.1}" text-anchor="middle" font-size="9">{:.1}k</text>
<text transform="translate({:.1} {:.1}) rotate(-45)" text-anchor="end">{system}</text>"##,
            y(*min),
            y(*max),
            y(*max) - 3.0,
            median / 1e3,
            middle + 4.0,
            bottom + 12.0,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(system: &str, value_bytes: Option<u64>, clients: u64) -> Value {
        let rate = json!({ "median": 1500.0, "min": 1000.0, "max": 2000.0 });
        let mut line = json!({ "system": system, "clients": clients, "writes_per_second": rate });
        if let Some(bytes) = value_bytes {
            line["value_bytes"] = bytes.into();
        }
        line
    }

    #[test]
    fn every_system_has_a_bar_in_every_panel() {
        let lines = [
            line("quorum", Some(100), 1),
            line("redis", Some(100), 1),
            line("quorum", Some(100), 64),
            line("quorum", Some(4096), 64),
        ];
        let drawn = svg(&json!({ "value_bytes": [100, 4096], "summary": lines })).expect("whole");
        assert_eq!(drawn.matches("<rect x=").count(), 4);
        assert!(drawn.contains("1 client, 100 bytes<"));
        assert!(drawn.contains("64 clients, 4096 bytes<"));
        assert!(svg(&json!({})).is_err());
    }

    #[test]
    fn one_size_of_values_may_stand_above_the_lines() {
        let lines = [line("quorum", None, 1)];
        let drawn = svg(&json!({ "value_bytes": 300, "summary": lines })).expect("whole");
        assert!(drawn.contains("1 client, 300 bytes<"));
    }
}
