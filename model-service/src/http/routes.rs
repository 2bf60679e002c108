//! The routes, read from their documentation.

use std::cell::RefCell;

use actix_web::HttpRequest;
use actix_web::http::{Method, StatusCode};
use prometheus::{Histogram, HistogramVec};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

/// A path and its methods.
pub(crate) struct Route {
    /// Its template.
    pub(crate) path: String,
    /// Its methods, for the `Allow` header.
    pub(crate) allow: String,
    /// The query parameters of each method.
    parameters: Vec<(Method, Vec<String>)>,
    segments: Vec<Segment>,
    /// Metrics of its answers so far.
    seconds: RefCell<Vec<(&'static str, StatusCode, Histogram)>>,
}

/// A part of a template between slashes.
enum Segment {
    /// Exactly these characters.
    Word(String),
    /// One or more arbitrary characters, followed by these.
    Name(String),
}

impl Route {
    fn new(path: &str, item: &PathItem) -> Self {
        let operations = [
            (Method::GET, &item.get),
            (Method::PUT, &item.put),
            (Method::POST, &item.post),
            (Method::PATCH, &item.patch),
            (Method::DELETE, &item.delete),
        ];
        let parameters: Vec<_> = operations
            .into_iter()
            .filter_map(|(method, operation)| Some((method, of_query(operation.as_ref()?))))
            .collect();
        let mut allow: Vec<&str> = parameters
            .iter()
            .map(|(method, _)| method.as_str())
            .collect();
        if allow.first() == Some(&"GET") {
            allow.insert(1, "HEAD");
        }
        Self {
            path: path.to_owned(),
            allow: allow.join(", "),
            parameters,
            segments: path.split('/').map(Segment::of).collect(),
            seconds: RefCell::default(),
        }
    }

    /// Whether a path matches the template.
    fn is_of(&self, path: &str) -> bool {
        let mut given = path.split('/');
        let fit = |segment: &Segment| given.next().is_some_and(|given| segment.fits(given));
        self.segments.iter().all(fit) && given.next().is_none()
    }

    /// Counts an answer; the metric is looked up once per method and status.
    pub(crate) fn observe(
        &self,
        metric: &HistogramVec,
        method: &'static str,
        status: StatusCode,
        seconds: f64,
    ) {
        let mut known = self.seconds.borrow_mut();
        let found = known.iter().find(|one| (one.0, one.1) == (method, status));
        if let Some((_, _, histogram)) = found {
            return histogram.observe(seconds);
        }
        let histogram = metric.with_label_values(&[&self.path, method, status.as_str()]);
        histogram.observe(seconds);
        known.push((method, status, histogram));
    }

    /// The query parameters of a method; `None`: the route does not support the method.
    pub(crate) fn parameters(&self, method: &Method) -> Option<&[String]> {
        let found = self.parameters.iter().find(|(known, _)| known == method);
        found.map(|(_, parameters)| parameters.as_slice())
    }
}

fn of_query(operation: &Operation) -> Vec<String> {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
        .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
        .map(|parameter| parameter.name.clone())
        .collect()
}

impl Segment {
    fn of(template: &str) -> Self {
        match template
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'))
        {
            Some((_, end)) => Self::Name(end.to_owned()),
            None => Self::Word(template.to_owned()),
        }
    }

    fn fits(&self, given: &str) -> bool {
        match self {
            Self::Word(word) => word == given,
            Self::Name(end) => given
                .strip_suffix(end.as_str())
                .is_some_and(|name| !name.is_empty()),
        }
    }
}

/// Every route: those of the contract, then those of the service itself, each sorted by path.
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    /// The documented routes.
    pub(crate) fn documented(document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter();
        let mut all: Vec<Route> = paths.map(|(path, item)| Route::new(path, item)).collect();
        let order = |route: &Route| (!route.path.starts_with("/v1"), route.path.clone());
        all.sort_unstable_by_key(order);
        Self(all)
    }

    /// The route of a request, whatever its method.
    pub(crate) fn of(&self, request: &HttpRequest) -> Option<&Route> {
        // The path as the router reads it: decoded except for slashes.
        let path = request.match_info().as_str();
        // If two routes have a common start, the longer one comes later and is more specific.
        self.0.iter().rev().find(|route| route.is_of(path))
    }

    /// Every route.
    pub(crate) fn all(&self) -> &[Route] {
        &self.0
    }
}
