//! Keeps web pages of other sites away from an interface that asks for no token. (pure)
//!
//! Two attacks come through the browser of a person whose machine runs a node. A page may post to the loopback address
//! blindly: such a request carries the page's `Origin`, and a write is refused if that is not this interface. And a
//! page may let its own name resolve to the loopback address, so that the browser takes the node for part of the site:
//! then `Host` carries that name, and anything but an IP address or `localhost` is refused. A certificate rules the
//! second attack out, so behind TLS any name will do. With tokens neither works, since a page knows none.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, Uri};

use super::problem::Problem;

/// Refuses a request that a page of another site may have caused.
pub(super) fn check(method: &Method, headers: &HeaderMap, any_host: bool) -> Result<(), Problem> {
    let host = headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    if let Some(host) = &host
        && !any_host
        && !is_local_name(host)
    {
        return Err(Problem::ForeignHost { host: host.as_ref().into() });
    }
    let Some(origin) = headers.get(ORIGIN).filter(|_| !method.is_safe()) else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    if host.is_some_and(|host| is_same(&origin, &host)) {
        Ok(())
    } else {
        Err(Problem::ForeignOrigin { origin: origin.into() })
    }
}

/// Whether a host is written as an address, or as the name that always means this machine.
fn is_local_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.ends_with(".localhost") || address.parse::<IpAddr>().is_ok()
}

fn is_same(origin: &str, host: &str) -> bool {
    let origin = origin.parse::<Uri>().ok();
    let authority = origin.as_ref().and_then(Uri::authority);
    authority.is_some_and(|authority| authority.as_str().eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a host"));
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().expect("an origin"));
        }
        headers
    }

    fn refused(method: &Method, host: &str, origin: Option<&str>) -> bool {
        check(method, &headers(host, origin), false).is_err()
    }

    #[test]
    fn a_page_of_another_site_may_not_write() {
        let here = "127.0.0.1:7480";
        for foreign in ["https://example.org", "http://127.0.0.1:9999", "null", "http://[::1"] {
            assert!(refused(&Method::PUT, here, Some(foreign)), "{foreign}");
            assert!(refused(&Method::DELETE, here, Some(foreign)), "{foreign}");
            assert!(!refused(&Method::GET, here, Some(foreign)), "{foreign}");
        }
        assert!(!refused(&Method::PUT, here, Some("http://127.0.0.1:7480")));
        assert!(!refused(&Method::PUT, here, None));
    }

    #[test]
    fn a_name_that_was_bent_to_loopback_is_refused() {
        for foreign in
            ["example.org", "example.org:7480", "localhost.example.org", "127.0.0.1.evil", ""]
        {
            assert!(refused(&Method::GET, foreign, None), "{foreign}");
        }
        for local in ["localhost", "LocalHost:7480", "n1.localhost:1", "127.0.0.1", "[::1]:7480"] {
            assert!(!refused(&Method::GET, local, None), "{local}");
        }
        assert!(check(&Method::GET, &headers("n1.example.org", None), true).is_ok());
    }
}
