//! Draws what `peers` measured: writes a second of each system, a panel for each number of clients.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde_json::Value;

const PANEL_WIDTH: f64 = 210.0;
const PANEL_HEIGHT: f64 = 190.0;
const MARGIN: f64 = 50.0;
const BAR_WIDTH: f64 = 24.0;
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
    let panels = panels(report)?;
    let width = MARGIN + panels.len() as f64 * (PANEL_WIDTH + 20.0);
    let height = PANEL_HEIGHT + 130.0;
    let mut out = String::new();
    writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="{MARGIN}" y="18" font-size="13">Writes a second, three nodes: median of the rounds, with the smallest and the largest. nats-default and redis promise less.</text>"##
    )?;
    for (index, (clients, bars)) in panels.iter().enumerate() {
        let left = MARGIN + index as f64 * (PANEL_WIDTH + 20.0);
        panel(&mut out, left, *clients, bars)?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

fn panels(report: &Value) -> Result<BTreeMap<u64, Vec<Bar>>> {
    let lines = report["summary"].as_array().context("no summary in the report")?;
    let mut panels: BTreeMap<u64, Vec<Bar>> = BTreeMap::new();
    for line in lines {
        let rate = &line["writes_per_second"];
        let number = |name: &str| rate[name].as_f64().with_context(|| format!("no {name}"));
        let clients = line["clients"].as_u64().context("no number of clients")?;
        let system = line["system"].as_str().context("no system")?.to_owned();
        let bar =
            Bar { system, median: number("median")?, min: number("min")?, max: number("max")? };
        panels.entry(clients).or_default().push(bar);
    }
    Ok(panels)
}

fn panel(out: &mut String, left: f64, clients: u64, bars: &[Bar]) -> Result<()> {
    let bottom = 40.0 + PANEL_HEIGHT;
    let highest = bars.iter().map(|bar| bar.max).fold(1.0, f64::max);
    let y = |rate: f64| bottom - rate / highest * (PANEL_HEIGHT - 20.0);
    let right = left + PANEL_WIDTH;
    let title = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
    writeln!(out, r##"<text x="{left:.0}" y="36" fill="#444444">{title}</text>"##)?;
    writeln!(out, r##"<path d="M{left:.0} {bottom:.0}H{right:.0}" stroke="#444444"/>"##)?;
    for (index, Bar { system, median, min, max }) in bars.iter().enumerate() {
        let x = left + 6.0 + index as f64 * (BAR_WIDTH + 9.0);
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

    #[test]
    fn every_system_has_a_bar_in_every_panel() {
        let line = |system: &str, clients: u64| {
            let rate = json!({ "median": 1500.0, "min": 1000.0, "max": 2000.0 });
            json!({ "system": system, "clients": clients, "writes_per_second": rate })
        };
        let report =
            json!({ "summary": [line("quorum", 1), line("redis", 1), line("quorum", 64)] });
        let drawn = svg(&report).expect("a whole report");
        assert_eq!(drawn.matches("<rect x=").count(), 3);
        assert!(drawn.contains("1 client<") && drawn.contains("64 clients<"));
        assert!(svg(&json!({})).is_err());
    }
}
