//! Lets a client's trace go on in the commit of its write. (pure)

use axum::http::HeaderMap;
use quorum_core::TraceParent;

/// The span a client's request belongs to, if `traceparent` is well-formed (W3C Trace Context). One that is not is
/// passed over, as the standard demands.
pub(super) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace_id, span_id, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_plain =
        |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let well_formed = [(version, 2), (trace_id, 32), (span_id, 16), (flags, 2)]
        .into_iter()
        .all(|(part, digits)| part.len() == digits && is_plain(part));
    // Later versions may add parts behind these four; the first has none.
    let has_its_parts = version != "ff" && (version != "00" || parts.next().is_none());
    if !well_formed || !has_its_parts {
        return None;
    }
    let digits = [trace_id, span_id, flags].concat();
    let mut bytes = [0; 25];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(TraceParent::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_trace_parent_is_taken_only_if_well_formed() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", HeaderValue::from_str(text).expect("a value"));
            trace_parent(&headers)
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = read(good).expect("well-formed");
        assert_eq!((parent.as_bytes()[0], parent.as_bytes()[24]), (0x0a, 1));
        assert_eq!(read(&good.replacen("00", "01", 1).replace("-01", "-01-more")), Some(parent));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
