//! Which routes there are, read from their documentation.

use std::collections::HashMap;

use actix_web::HttpRequest;
use actix_web::http::Method;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem, RefOr};

/// A path and what can be asked of it.
pub(crate) struct Route {
    /// Its template.
    pub(crate) path: String,
    /// Its methods, as `Allow` says them.
    pub(crate) allow: String,
    /// The query parameters of each method.
    parameters: Vec<(Method, Vec<String>)>,
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
        }
    }

    /// The query parameters of a method; `None`: the route does not know the method.
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

/// Every route.
pub(crate) struct Routes(HashMap<String, Route>);

impl Routes {
    /// Those that are documented.
    pub(crate) fn documented(document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter();
        let routes = paths.map(|(path, item)| (path.clone(), Route::new(path, item)));
        Self(routes.collect())
    }

    /// The route of a request, whatever its method.
    pub(crate) fn of(&self, request: &HttpRequest) -> Option<&Route> {
        // The path as the router reads it: decoded but for slashes.
        let path = request.match_info().as_str();
        self.0.get(&request.resource_map().match_pattern(path)?)
    }

    /// Every route: those of the contract, then those of the service itself, each by path.
    pub(crate) fn all(&self) -> Vec<&Route> {
        let mut all: Vec<&Route> = self.0.values().collect();
        all.sort_unstable_by_key(|route| (!route.path.starts_with("/v1"), &route.path));
        all
    }
}
