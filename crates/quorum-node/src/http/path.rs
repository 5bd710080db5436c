//! Namespace and key as a path writes them. (pure)

use axum::http::Uri;
use quorum_core::WriteId;

use super::percent;
use super::problem::Problem;
use crate::record::{Key, Namespace};

/// What the paths of keys and of namespaces begin with.
const KV: &str = "/v1/kv/";

/// What the paths of changes begin with.
const WATCH: &str = "/v1/watch/";
/// What the paths of writes begin with.
const WRITES: &str = "/v1/writes/";

/// The namespace and key that a path names. The key is everything behind the namespace, slashes included.
pub(super) fn namespace_and_key(uri: &Uri) -> Result<(Namespace, Key), Problem> {
    let rest = uri.path().strip_prefix(KV).unwrap_or_default();
    let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
    let key = percent::decode(key)
        .ok_or_else(|| Problem::invalid("key", &"malformed percent-encoding"))?;
    Ok((namespace_named(name)?, Key::new(key).map_err(|error| Problem::invalid("key", &error))?))
}

/// The namespace whose changes a path names.
pub(super) fn watched_namespace(uri: &Uri) -> Result<Namespace, Problem> {
    namespace_named(uri.path().strip_prefix(WATCH).unwrap_or_default())
}

/// The write id that a path names.
pub(super) fn write_id(uri: &Uri) -> Result<WriteId, Problem> {
    let text = uri.path().strip_prefix(WRITES).unwrap_or_default();
    text.parse().map_err(|error| Problem::invalid("write_id", &error))
}

/// The namespace that a path names.
pub(super) fn namespace(uri: &Uri) -> Result<Namespace, Problem> {
    namespace_named(uri.path().strip_prefix(KV).unwrap_or_default())
}

fn namespace_named(name: &str) -> Result<Namespace, Problem> {
    let name = percent::decode(name)
        .ok_or_else(|| Problem::invalid("namespace", &"malformed percent-encoding"))?;
    Namespace::new(String::from_utf8_lossy(&name))
        .map_err(|error| Problem::invalid("namespace", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a URI")
    }

    /// The field that a problem blames.
    fn blamed<T: std::fmt::Debug>(read: Result<T, Problem>) -> &'static str {
        match read.expect_err("a problem") {
            Problem::Invalid { field, .. } => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_the_rest_of_the_path_and_any_bytes() {
        let (namespace, key) = namespace_and_key(&uri("/v1/kv/ns/a/b%2fc%ff/")).expect("valid");
        assert_eq!((namespace.as_str(), key.as_bytes()), ("ns", &b"a/b/c\xff/"[..]));
    }

    #[test]
    fn a_bad_path_is_blamed_on_its_part() {
        let long = format!("/v1/kv/ns/{}", "k".repeat(1_025));
        for path in ["/v1/kv/ns/", "/v1/kv/ns/%", long.as_str()] {
            assert_eq!(blamed(namespace_and_key(&uri(path))), "key", "{path}");
        }
        for path in ["/v1/kv/Ns/k", "/v1/kv//k", "/v1/kv/a%2fb/k", "/v1/kv/%zz/k", "/v1/kv/%ff/k"] {
            assert_eq!(blamed(namespace_and_key(&uri(path))), "namespace", "{path}");
        }
    }
}
