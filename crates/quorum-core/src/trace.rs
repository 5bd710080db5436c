//! The W3C trace context as it travels beside a record.

/// Trace id, span id and flags of the span that caused a write, so that one trace spans coordinator and peers.
///
/// The fields of a W3C `traceparent` header after its version: 16 bytes of trace id, 8 of span id, 1 of flags.
/// Opaque to this crate. It rides beside a record and is never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent([u8; 25]);

impl TraceParent {
    /// Wraps the 25 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 25]) -> Self {
        Self(bytes)
    }

    /// The 25 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 25] {
        &self.0
    }
}
