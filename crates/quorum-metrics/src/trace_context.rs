//! Carries a trace across the wire: which span a record comes from, and making that span the parent on the other side.
//!
//! Only sampled traces travel, so an unsampled write costs no byte in its frame.

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use quorum_core::TraceParent;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The trace context of the current span, if it is sampled.
#[must_use]
pub fn current_trace_parent() -> Option<TraceParent> {
    trace_parent_of(&Span::current())
}

/// The trace context of `span`, if it is sampled. Fixes the parent of the span.
#[must_use]
pub fn trace_parent_of(span: &Span) -> Option<TraceParent> {
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    (context.is_valid() && context.is_sampled()).then(|| encode(context))
}

/// Makes the remote span the parent of `span`. Call it before `span` is entered or has children.
///
/// Bytes that name no trace are ignored, as is a span that already has begun: a trace is never worth a record.
pub fn adopt_remote_parent(span: &Span, parent: TraceParent) {
    let context = decode(parent);
    if context.is_valid() {
        // The error says that tracing is off or that the span was entered: neither is the sender's concern.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(context));
    }
}

fn encode(context: &SpanContext) -> TraceParent {
    let mut bytes = [0; 25];
    bytes[..16].copy_from_slice(&context.trace_id().to_bytes());
    bytes[16..24].copy_from_slice(&context.span_id().to_bytes());
    bytes[24] = context.trace_flags().to_u8();
    TraceParent::from_bytes(bytes)
}

fn decode(parent: TraceParent) -> SpanContext {
    let (trace_id, rest) = parent.as_bytes().split_first_chunk::<16>().expect("25 bytes hold 16");
    let (span_id, flags) = rest.split_first_chunk::<8>().expect("9 bytes hold 8");
    // Flags this version does not know are not passed on.
    let flags = TraceFlags::new(flags[0]) & TraceFlags::SAMPLED;
    SpanContext::new(
        TraceId::from_bytes(*trace_id),
        SpanId::from_bytes(*span_id),
        flags,
        true,
        TraceState::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_parent_reads_what_it_writes() {
        let bytes = std::array::from_fn(|index| u8::try_from(index).unwrap() + 1);
        let parent = TraceParent::from_bytes(bytes);
        let context = decode(parent);
        assert!(context.is_remote() && context.is_valid() && context.is_sampled());
        let mut expected = bytes;
        expected[24] = 1;
        assert_eq!(encode(&context), TraceParent::from_bytes(expected));
    }

    #[test]
    fn zeroes_name_no_trace() {
        assert!(!decode(TraceParent::from_bytes([0; 25])).is_valid());
    }

    #[test]
    fn without_a_tracing_layer_there_is_no_parent() {
        assert_eq!(current_trace_parent(), None);
    }
}
