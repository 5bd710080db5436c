//! Reads the Prometheus text.

/// The value of a series, named as in the text: `name{label="value"}`. The order of labels does not matter.
pub(crate) fn sample(text: &str, series: &str) -> Option<f64> {
    let wanted = parts(series);
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        (parts(series) == wanted).then(|| value.parse().expect("a number"))
    })
}

/// Whether there is any series of a metric: of a histogram, its buckets.
pub(crate) fn has(text: &str, metric: &str) -> bool {
    text.lines().filter(|line| !line.starts_with('#')).any(|line| {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        name == metric || name.strip_suffix("_bucket") == Some(metric)
    })
}

fn parts(series: &str) -> (&str, Vec<&str>) {
    let Some((name, labels)) = series.split_once('{') else { return (series, Vec::new()) };
    let mut labels: Vec<&str> =
        labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
    labels.sort_unstable();
    (name, labels)
}
