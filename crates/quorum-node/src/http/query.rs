//! What a request asks for beside its path and body: parameters and headers, read into values. (pure)
//!
//! Strict throughout: a parameter that means nothing here, comes twice or cannot be read is refused by name, because a
//! misspelt `timeuot` that is passed over would be a promise broken in silence.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use bytes::Bytes;
use quorum_core::{Durability, Incarnation, WriteId};

use super::percent;
use super::problem::Problem;
use crate::config::check::ACK_TIMEOUT_MAX;
use crate::config::{Consistency, ReadQuorum, WriteQuorum};
use crate::record::{Key, Namespace};

/// Items of a page unless the client asks for another number.
const LIMIT_DEFAULT: usize = 100;
/// Most items of a page.
const LIMIT_MAX: usize = 1_000;

/// The header by which a client says that it made the request before.
const RETRY: &str = "Quorum-Retry";

/// The decoded parameters of a request, each known and given at most once.
#[derive(Debug)]
struct Parameters(Vec<(&'static str, Vec<u8>)>);

impl Parameters {
    fn parse(uri: &Uri, known: &[&'static str]) -> Result<Self, Problem> {
        let mut found: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known.iter().copied().find(|known| *known == name) else {
                return Err(Problem::UnknownParameter { name: name.to_owned() });
            };
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Problem::invalid(name, &"given more than once"));
            }
            let value = percent::decode_form(value)
                .ok_or_else(|| Problem::invalid(name, &"malformed percent-encoding"))?;
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_slice())
    }

    /// The parameter read by `read`, whose error is the detail.
    fn read<T, E: Display>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.bytes(name) else { return Ok(None) };
        let text = str::from_utf8(value).map_err(|_| Problem::invalid(name, &"not text"))?;
        read(text).map(Some).map_err(|error| Problem::invalid(name, &error))
    }

    fn flag(&self, name: &'static str) -> Result<bool, Problem> {
        let read = |text: &str| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("expected true or false, not {other:?}")),
        };
        Ok(self.read(name, read)?.unwrap_or(false))
    }

    /// Refuses a consistency that would have to be served as another one.
    fn consistency(&self, served: &'static str) -> Result<(), Problem> {
        match self.read("consistency", |text| Ok::<_, String>(text.to_owned()))? {
            None => Ok(()),
            Some(asked) if asked == served => Ok(()),
            Some(asked) if ["local", "quorum", "linearizable"].contains(&asked.as_str()) => {
                let detail = format!("only {served} is served here, not {asked}");
                Err(Problem::NotSupported { field: "consistency", detail })
            }
            Some(asked) => {
                Err(Problem::invalid("consistency", &format!("expected {served}, not {asked:?}")))
            }
        }
    }
}

/// What a write asks for beside its key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteParameters {
    pub(super) copies: Option<WriteQuorum>,
    pub(super) timeout: Option<Duration>,
    pub(super) durability: Option<Durability>,
    pub(super) consistency: Option<Consistency>,
    pub(super) write_id: Option<WriteId>,
    pub(super) is_retry: bool,
}

impl WriteParameters {
    /// Reads the parameters of a write in a mesh of `members`.
    pub(super) fn parse(uri: &Uri, headers: &HeaderMap, members: usize) -> Result<Self, Problem> {
        let given = Parameters::parse(uri, &["w", "timeout", "durability", "consistency"])?;
        refuse_conditions(headers)?;
        let (write_id, is_retry) = (write_id(headers)?, is_retry(headers)?);
        if is_retry && write_id.is_none() {
            let detail = "a retry needs the Idempotency-Key of the first attempt";
            return Err(Problem::invalid(RETRY, &detail));
        }
        Ok(Self {
            copies: given.read("w", |text| copies(text, members))?,
            timeout: given.read("timeout", timeout)?,
            durability: given.read("durability", durability)?,
            consistency: given.read("consistency", Consistency::from_str)?,
            write_id,
            is_retry,
        })
    }
}

pub(super) fn copies(text: &str, members: usize) -> Result<WriteQuorum, String> {
    let copies = WriteQuorum::from_str(text).map_err(|error| error.to_string())?;
    if (1..=members).contains(&copies.of(members)) {
        Ok(copies)
    } else {
        Err(format!("{text} is outside 1..={members}, the number of members"))
    }
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text)
        .map_err(|error| format!("expected a duration such as 500ms or 2s: {error}"))?;
    if timeout.is_zero() || timeout > ACK_TIMEOUT_MAX {
        let longest = humantime::format_duration(ACK_TIMEOUT_MAX);
        return Err(format!("expected more than zero and at most {longest}"));
    }
    Ok(timeout)
}

pub(super) fn durability(text: &str) -> Result<Durability, String> {
    [Durability::Fsync, Durability::Relaxed]
        .into_iter()
        .find(|durability| durability.as_str() == text)
        .ok_or_else(|| format!("expected fsync or relaxed, not {text:?}"))
}

/// The write id in `Idempotency-Key`: a UUID, with or without hyphens and quotes.
fn write_id(headers: &HeaderMap) -> Result<Option<WriteId>, Problem> {
    const FIELD: &str = "Idempotency-Key";
    let mut values = headers.get_all(FIELD).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid(FIELD, &"given more than once"));
    }
    let text = value.to_str().map_err(|_| Problem::invalid(FIELD, &"not text"))?.trim();
    let unquoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    unquoted.parse().map(Some).map_err(|error| Problem::invalid(FIELD, &error))
}

/// Whether the request says that it was made before.
pub(super) fn is_retry(headers: &HeaderMap) -> Result<bool, Problem> {
    let mut values = headers.get_all(RETRY).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid(RETRY, &"given more than once"));
    }
    match value.map(HeaderValue::as_bytes) {
        None | Some(b"0") => Ok(false),
        Some(b"1") => Ok(true),
        Some(_) => Err(Problem::invalid(RETRY, &"expected 1 or 0")),
    }
}

/// A condition that is passed over would turn a guarded write into a blind one.
fn refuse_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let conditions = [
        ("If-Match", header::IF_MATCH),
        ("If-None-Match", header::IF_NONE_MATCH),
        ("If-Unmodified-Since", header::IF_UNMODIFIED_SINCE),
        ("Content-Range", header::CONTENT_RANGE),
    ];
    match conditions.into_iter().find(|(_, name)| headers.contains_key(name)) {
        Some((field, _)) => {
            let detail = "conditional and partial writes need consensus, which this is not".into();
            Err(Problem::NotSupported { field, detail })
        }
        None => Ok(()),
    }
}

/// What a read asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReadParameters {
    pub(super) consistency: Option<Consistency>,
    pub(super) members: Option<ReadQuorum>,
    pub(super) timeout: Option<Duration>,
}

impl ReadParameters {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Problem> {
        let given = Parameters::parse(uri, &["consistency", "r", "timeout"])?;
        Ok(Self {
            consistency: given.read("consistency", Consistency::from_str)?,
            members: given.read("r", ReadQuorum::from_str)?,
            timeout: given.read("timeout", timeout)?,
        })
    }
}

/// Which changes are followed, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WatchParameters {
    pub(super) prefix: Bytes,
    /// The incarnation and number of the last change that the client has seen.
    pub(super) after: Option<(Incarnation, u64)>,
}

impl WatchParameters {
    pub(super) fn parse(uri: &Uri, headers: &HeaderMap) -> Result<Self, Problem> {
        const LAST: &str = "Last-Event-ID";
        let given = Parameters::parse(uri, &["prefix", "after"])?;
        let mut after = given.read("after", place)?;
        if let Some(value) = headers.get(LAST) {
            let text = value.to_str().map_err(|_| Problem::invalid(LAST, &"not text"))?;
            // A client that reconnects repeats its URL; where it has come to since is in the header.
            after = Some(place(text).map_err(|error| Problem::invalid(LAST, &error))?);
        }
        let prefix = Bytes::copy_from_slice(given.bytes("prefix").unwrap_or_default());
        Ok(Self { prefix, after })
    }
}

/// An event's id: incarnation and number.
fn place(text: &str) -> Result<(Incarnation, u64), String> {
    let read = || {
        let (incarnation, number) = text.split_once('-')?;
        Some((incarnation.parse().ok()?, number.parse().ok()?))
    };
    read().ok_or_else(|| format!("{text:?} is not the id of an event"))
}

/// What somebody asks who wants to know what became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StatusParameters {
    pub(super) copies: Option<usize>,
    pub(super) timeout: Option<Duration>,
}

impl StatusParameters {
    /// Reads the parameters in a mesh of `members`.
    pub(super) fn parse(uri: &Uri, members: usize) -> Result<Self, Problem> {
        let given = Parameters::parse(uri, &["copies", "timeout"])?;
        let copies = |text: &str| {
            let copies = text.parse().ok().filter(|copies| (1..=members).contains(copies));
            copies
                .ok_or_else(|| format!("{text:?} is outside 1..={members}, the number of members"))
        };
        Ok(Self { copies: given.read("copies", copies)?, timeout: given.read("timeout", timeout)? })
    }
}

/// Which part of a namespace is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListParameters {
    pub(super) prefix: Bytes,
    pub(super) after: Option<Key>,
    pub(super) limit: usize,
    pub(super) values: bool,
}

impl ListParameters {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Problem> {
        let given = Parameters::parse(uri, &["prefix", "after", "limit", "values", "consistency"])?;
        given.consistency("local")?;
        let after = given.bytes("after").filter(|after| !after.is_empty());
        let after = after.map(|after| Key::new(after.to_vec())).transpose();
        Ok(Self {
            prefix: Bytes::copy_from_slice(given.bytes("prefix").unwrap_or_default()),
            after: after.map_err(|error| Problem::invalid("after", &error))?,
            limit: given.read("limit", limit)?.unwrap_or(LIMIT_DEFAULT),
            values: given.flag("values")?,
        })
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| format!("{text:?} is outside 1..={LIMIT_MAX}"))
}

/// The one namespace that is exported, or all.
pub(super) fn exported_namespace(uri: &Uri) -> Result<Option<Namespace>, Problem> {
    Parameters::parse(uri, &["namespace"])?.read("namespace", |text| Namespace::new(text))
}

/// Whether the status is asked to read everything for a digest.
pub(super) fn wants_digest(uri: &Uri) -> Result<bool, Problem> {
    Parameters::parse(uri, &["digest"])?.flag("digest")
}

/// For requests that take no parameters.
pub(super) fn check_none(uri: &Uri) -> Result<(), Problem> {
    Parameters::parse(uri, &[]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect("a URI")
    }

    fn write(query: &str) -> Result<WriteParameters, Problem> {
        WriteParameters::parse(&uri(&format!("/v1/kv/ns/k?{query}")), &HeaderMap::new(), 3)
    }

    /// The field that a problem blames.
    fn blamed<T: std::fmt::Debug>(read: Result<T, Problem>) -> String {
        match read.expect_err("a problem") {
            Problem::Invalid { field, .. } | Problem::NotSupported { field, .. } => field.into(),
            Problem::UnknownParameter { name } => format!("?{name}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_write_reads_its_parameters() {
        let read =
            write("w=2&timeout=1500ms&durability=relaxed&consistency=quorum").expect("valid");
        let expected = WriteParameters {
            copies: Some(WriteQuorum::Exactly(2)),
            timeout: Some(Duration::from_millis(1_500)),
            durability: Some(Durability::Relaxed),
            consistency: Some(Consistency::Quorum),
            write_id: None,
            is_retry: false,
        };
        assert_eq!(read, expected);
        assert_eq!(write("w=majority").expect("valid").copies, Some(WriteQuorum::Majority));
    }

    #[test]
    fn a_bad_parameter_is_blamed_by_name() {
        let bad = [
            ("w=0", "w"),
            ("w=4", "w"),
            ("w=most", "w"),
            ("w=", "w"),
            ("w=1&w=1", "w"),
            ("w=%ff", "w"),
            ("w=%", "w"),
            ("timeout=0s", "timeout"),
            ("timeout=2h", "timeout"),
            ("timeout=soon", "timeout"),
            ("durability=never", "durability"),
            ("consistency=strong", "consistency"),
            ("timeuot=2s", "?timeuot"),
            ("W=1", "?W"),
        ];
        for (query, field) in bad {
            assert_eq!(blamed(write(query)), field, "{query}");
        }
    }

    #[test]
    fn a_write_outside_the_mesh_is_told_the_range() {
        match write("w=4") {
            Err(Problem::Invalid { detail, .. }) => assert!(detail.contains("1..=3"), "{detail}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_read_says_how_consistent_it_must_be() {
        let read = ReadParameters::parse(&uri("/v1/kv/ns/k?consistency=quorum&r=2&timeout=1s"));
        let expected = ReadParameters {
            consistency: Some(Consistency::Quorum),
            members: Some(ReadQuorum::Exactly(2)),
            timeout: Some(Duration::from_secs(1)),
        };
        assert_eq!(read.expect("valid"), expected);
        for (query, field) in
            [("consistency=strong", "consistency"), ("r=most", "r"), ("w=1", "?w")]
        {
            let read = ReadParameters::parse(&uri(&format!("/v1/kv/ns/k?{query}")));
            assert_eq!(blamed(read), field, "{query}");
        }
    }

    #[test]
    fn a_retry_names_the_write_that_it_retries() {
        let mut headers = HeaderMap::new();
        headers.insert("quorum-retry", HeaderValue::from_static("1"));
        let unnamed = WriteParameters::parse(&uri("/v1/kv/a/b"), &headers, 3);
        assert_eq!(blamed(unnamed), "Quorum-Retry");
        let id = HeaderValue::from_static("30313233-3435-3637-3839-616263646566");
        headers.insert("idempotency-key", id);
        let named = WriteParameters::parse(&uri("/v1/kv/a/b"), &headers, 3);
        assert!(named.expect("valid").is_retry);
        headers.insert("quorum-retry", HeaderValue::from_static("yes"));
        let odd = WriteParameters::parse(&uri("/v1/kv/a/b"), &headers, 3);
        assert_eq!(blamed(odd), "Quorum-Retry");
    }

    #[test]
    fn a_list_reads_bytes_and_bounds_its_pages() {
        let read = ListParameters::parse(&uri("/v1/kv/ns?prefix=a%ff&after=a%ffb+c&values=true"));
        let expected = ListParameters {
            prefix: Bytes::from_static(b"a\xff"),
            after: Some(Key::new(&b"a\xffb c"[..]).expect("a key")),
            limit: LIMIT_DEFAULT,
            values: true,
        };
        assert_eq!(read.expect("valid"), expected);
        for (query, field) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("values=1", "values"),
            ("key=a", "?key"),
        ] {
            let read = ListParameters::parse(&uri(&format!("/v1/kv/ns?{query}")));
            assert_eq!(blamed(read), field, "{query}");
        }
    }

    #[test]
    fn a_write_id_is_a_uuid_in_the_usual_spellings() {
        let id = "30313233-3435-3637-3839-616263646566";
        for text in [id.to_owned(), id.replace('-', ""), format!("\"{id}\"")] {
            let headers = HeaderMap::from_iter([(
                "idempotency-key".parse().expect("a name"),
                text.parse().expect("a value"),
            )]);
            assert_eq!(
                write_id(&headers).expect("valid").map(|id| id.to_string()),
                Some(id.into())
            );
        }
        for text in ["", "1", "\"", "zz", "30313233343536373839616263646566ff"] {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", HeaderValue::from_str(text).expect("a value"));
            assert_eq!(blamed(write_id(&headers)), "Idempotency-Key", "{text}");
        }
    }

    #[test]
    fn a_condition_on_a_write_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"1\""));
        assert_eq!(blamed(WriteParameters::parse(&uri("/v1/kv/a/b"), &headers, 3)), "If-Match");
    }
}
