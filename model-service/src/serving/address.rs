//! Addresses: from a request's raw path to what it names.

use actix_web::http::Method;
use kindred_shared::event::Reason;
use kindred_shared::{DomainName, ItemId};
use percent_encoding::percent_decode_str;

use super::problem::{Kind, Problem};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// `/`
    Index,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/openapi.json`
    OpenApi,
    /// `/v1/domains`
    Domains,
    /// `/v1/workers`
    Workers,
    /// `/v1/domains/{domain}`
    Domain(DomainName),
    /// `/v1/domains/{domain}/items:batch`
    Batch(DomainName),
    /// `/v1/domains/{domain}/items/{id}`
    Item(DomainName, ItemId),
    /// `/v1/domains/{domain}/items/{id}/similar`
    Similar(DomainName, ItemId),
}

/// Every route's template and what can be asked of it, in the order of the index page.
pub(crate) const ROUTES: &[(&str, &str)] = &[
    (ITEM, "GET, HEAD, PUT, DELETE"),
    (SIMILAR, READ),
    (BATCH, "POST"),
    (DOMAINS, READ),
    (DOMAIN, READ),
    (WORKERS, READ),
    ("/healthz", READ),
    ("/readyz", READ),
    ("/metrics", READ),
    ("/openapi.json", READ),
    ("/", READ),
];

const ITEM: &str = "/v1/domains/{domain}/items/{id}";
const SIMILAR: &str = "/v1/domains/{domain}/items/{id}/similar";
const BATCH: &str = "/v1/domains/{domain}/items:batch";
const DOMAINS: &str = "/v1/domains";
const DOMAIN: &str = "/v1/domains/{domain}";
const WORKERS: &str = "/v1/workers";
const READ: &str = "GET, HEAD";

impl Address {
    /// Reads a raw path: split first, then decode each segment once.
    ///
    /// # Errors
    /// 404 where no route is; 400 where a name is none.
    pub(crate) fn parse(path: &str) -> Result<Self, Problem> {
        match path {
            "/" => return Ok(Self::Index),
            "/healthz" => return Ok(Self::Health),
            "/readyz" => return Ok(Self::Ready),
            "/metrics" => return Ok(Self::Metrics),
            "/openapi.json" => return Ok(Self::OpenApi),
            "/v1/domains" => return Ok(Self::Domains),
            "/v1/workers" => return Ok(Self::Workers),
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/v1/domains/") else {
            return Err(unknown(path));
        };
        // Longer paths than any route's end in one segment too many.
        let segments: Vec<&str> = rest.splitn(5, '/').collect();
        match *segments.as_slice() {
            ["", ..] => Err(unknown(path)),
            [domain] => Ok(Self::Domain(domain_name(domain)?)),
            [domain, batch] if is(batch, "items:batch") => Ok(Self::Batch(domain_name(domain)?)),
            [domain, items, id] if is(items, "items") && !id.is_empty() => {
                Ok(Self::Item(domain_name(domain)?, item_id(id)?))
            }
            [domain, items, id, similar]
                if is(items, "items") && is(similar, "similar") && !id.is_empty() =>
            {
                Ok(Self::Similar(domain_name(domain)?, item_id(id)?))
            }
            [_, items, _, _, ..] if is(items, "items") => Err(Problem::new(
                Kind::UnknownPath,
                "No such path. A slash inside an item's id is written %2F.",
            )),
            _ => Err(unknown(path)),
        }
    }

    /// The route's template, for metrics.
    pub(crate) fn route(&self) -> &'static str {
        match self {
            Self::Index => "/",
            Self::Health => "/healthz",
            Self::Ready => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::Domains => DOMAINS,
            Self::Workers => WORKERS,
            Self::Domain(_) => DOMAIN,
            Self::Batch(_) => BATCH,
            Self::Item(..) => ITEM,
            Self::Similar(..) => SIMILAR,
        }
    }

    /// The problem of a method this address does not know.
    pub(crate) fn not_allowed(&self, method: &Method) -> Problem {
        let allow = ROUTES
            .iter()
            .find_map(|(route, methods)| (*route == self.route()).then_some(*methods))
            .unwrap_or(READ);
        Problem::new(
            Kind::MethodNotAllowed,
            format!("{method} is not known here. Use one of: {allow}."),
        )
        .allowing(allow)
    }
}

fn unknown(path: &str) -> Problem {
    let shown: String = path.chars().take(200).collect();
    Problem::new(
        Kind::UnknownPath,
        format!("Nothing is at {shown:?}. /openapi.json lists every path."),
    )
}

/// Whether a segment says `word`, decoded: clients may write `items%3Abatch`.
fn is(segment: &str, word: &str) -> bool {
    percent_decode_str(segment).eq(word.bytes())
}

fn domain_name(segment: &str) -> Result<DomainName, Problem> {
    let refuse = |detail: String| {
        Problem::with_status(Kind::Refused(Reason::InvalidDomain), 400, detail).field("domain")
    };
    let text = decode(segment).map_err(refuse)?;
    DomainName::new(&text).map_err(|error| refuse(error.to_string()))
}

fn item_id(segment: &str) -> Result<ItemId, Problem> {
    let refuse = |detail: String| {
        Problem::with_status(Kind::Refused(Reason::InvalidId), 400, detail).field("id")
    };
    let text = decode(segment).map_err(refuse)?;
    ItemId::new(&text).map_err(|error| refuse(error.to_string()))
}

/// Percent-decodes once, strictly: what a lone `%` was meant to say cannot be known.
fn decode(segment: &str) -> Result<String, String> {
    let bytes = segment.as_bytes();
    for (at, _) in segment.match_indices('%') {
        let escape = bytes.get(at + 1..at + 3);
        if !escape.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) {
            return Err("A % in an address is followed by two hexadecimal digits; \
                        the character % itself is written %25."
                .into());
        }
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| "A name in an address is percent-encoded UTF-8; these bytes are not.".into())
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn names(domain: &str, id: &str) -> (DomainName, ItemId) {
        (
            DomainName::new(domain).expect("a domain"),
            ItemId::new(id).expect("an id"),
        )
    }

    #[track_caller]
    fn item(path: &str, id: &str) {
        let (domain, id) = names("x", id);
        assert_eq!(Address::parse(path), Ok(Address::Item(domain, id)));
    }

    #[track_caller]
    fn similar(path: &str, id: &str) {
        let (domain, id) = names("x", id);
        assert_eq!(Address::parse(path), Ok(Address::Similar(domain, id)));
    }

    #[test]
    fn an_id_is_decoded_once_and_may_look_like_a_route() {
        item("/v1/domains/x/items/a%2Fb", "a/b");
        item("/v1/domains/x/items/a%2fb", "a/b");
        item("/v1/domains/x/items/a%252Fb", "a%2Fb");
        item("/v1/domains/x/items/100%25", "100%");
        item("/v1/domains/x/items/%C3%BC", "ü");
        item("/v1/domains/x/items/a+b", "a+b");
        item("/v1/domains/x/items/a%20b", "a b");
        item("/v1/domains/x/items/similar", "similar");
        item("/v1/domains/x/items/a%2Fsimilar", "a/similar");
        item("/v1/domains/x/items/a:batch", "a:batch");
        item("/v1/domains/x/items/items:batch", "items:batch");
        item("/v1/domains/x/items/..", "..");
        similar("/v1/domains/x/items/similar/similar", "similar");
        similar("/v1/domains/x/items/a%2Fsimilar/similar", "a/similar");
        similar("/v1/domains/x/items/a%2Fb/similar", "a/b");
        similar("/v1/domains/x/items/100%25/similar", "100%");
    }

    #[test]
    fn domains_may_look_like_routes_too() {
        let (domain, id) = names("items", "similar");
        assert_eq!(
            Address::parse("/v1/domains/items/items/similar"),
            Ok(Address::Item(domain.clone(), id))
        );
        assert_eq!(
            Address::parse("/v1/domains/items"),
            Ok(Address::Domain(domain.clone()))
        );
        for batch in ["items:batch", "items%3Abatch", "items%3abatch"] {
            assert_eq!(
                Address::parse(&format!("/v1/domains/items/{batch}")),
                Ok(Address::Batch(domain.clone()))
            );
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (path, status) in [
            ("", 404),
            ("*", 404),
            ("//", 404),
            ("/v1", 404),
            ("/v1/domains/", 404),
            ("/v1/domains/x/", 404),
            ("/v1/domains/x/items", 404),
            ("/v1/domains/x/items/", 404),
            ("/v1/domains/x/items//similar", 404),
            ("/v1/domains/x/items/a/b", 404),
            ("/v1/domains/x/items/a/b/similar", 404),
            ("/v1/domains/x/items/a/similar/b/c/d/e", 404),
            ("/v1/domains/x/items/100%", 400),
            ("/v1/domains/x/items/%zz", 400),
            ("/v1/domains/x/items/%+1", 400),
            ("/v1/domains/x/items/%ff", 400),
            ("/v1/domains/x/items/a%00", 400),
            ("/v1/domains/a%20b", 400),
            ("/v1/domains/a%2Fb/items/c", 400),
        ] {
            let problem = Address::parse(path).expect_err(path);
            assert_eq!(problem.status(), status, "{path}");
        }
        let long = format!("/v1/domains/x/items/{}", "a".repeat(257));
        assert_eq!(Address::parse(&long).map_err(|p| p.status()), Err(400));
    }

    #[test]
    fn every_address_has_its_route() {
        for (template, methods) in ROUTES {
            let path = template.replace("{domain}", "x").replace("{id}", "y");
            let address = Address::parse(&path).expect("a route");
            assert_eq!(address.route(), *template);
            assert!(!methods.is_empty());
        }
    }

    proptest! {
        #[test]
        fn any_id_comes_back(id in "\\PC{1,60}") {
            let encoded = utf8_percent_encode(&id, NON_ALPHANUMERIC).to_string();
            let (domain, id) = names("x", &id);
            prop_assert_eq!(
                Address::parse(&format!("/v1/domains/x/items/{encoded}")),
                Ok(Address::Item(domain.clone(), id.clone()))
            );
            prop_assert_eq!(
                Address::parse(&format!("/v1/domains/x/items/{encoded}/similar")),
                Ok(Address::Similar(domain, id))
            );
        }

        #[test]
        fn no_path_panics(path in "\\PC*") {
            let _ = Address::parse(&path);
            let _ = Address::parse(&format!("/v1/domains/x/items/{path}"));
        }
    }
}
