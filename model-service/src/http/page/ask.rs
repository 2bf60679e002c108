//! Lets the page query the API itself: a view is made from its answers, so it never contains more
//! than the viewer may see.

use actix_web::HttpRequest;
use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, IF_NONE_MATCH,
    ORIGIN,
};
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use bytes::Bytes;
use futures_util::stream;
use kindred_api::problem::{Problem, ProblemKind};
use serde::de::DeserializeOwned;

use super::super::access::TOKEN;

/// Headers of a request to the page that are not passed on to the API.
const OF_THE_PAGE: [HeaderName; 6] = [
    ACCEPT,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    IF_NONE_MATCH,
    ORIGIN,
];

/// A failure outside the API: there is no answer to show.
pub(super) type Failed = actix_web::Error;

/// Sends API requests one after the other, with the identity of the page's request.
pub(super) struct Ask<B> {
    next: Next<B>,
    /// The request; it is lent to each API request.
    request: Option<HttpRequest>,
    method: Method,
    uri: Uri,
    /// The token that changes carry.
    token: String,
}

impl<B: MessageBody + 'static> Ask<B> {
    pub(super) fn new(mut request: ServiceRequest, next: Next<B>, token: String) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        for header in OF_THE_PAGE {
            request.headers_mut().remove(header);
        }
        let (request, _) = request.into_parts();
        Self {
            next,
            request: Some(request),
            method,
            uri,
            token,
        }
    }

    /// The answer to a GET of a path, or a problem.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
    ) -> Result<Result<T, Problem>, Failed> {
        self.ask(Method::GET, path, None).await
    }

    /// The answer, or a problem.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Result<T, Problem>, Failed> {
        let (status, body) = self.bytes(method, path, body).await?;
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        if (200..300).contains(&status) {
            return Ok(serde_json::from_slice(text).map_err(|error| not_read(&error)));
        }
        Ok(Err(
            serde_json::from_slice(text).unwrap_or_else(|error| not_read(&error))
        ))
    }

    async fn bytes(
        &mut self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<(u16, Bytes), Failed> {
        let Ok(uri) = path.parse::<Uri>() else {
            let problem = Problem::new(
                ProblemKind::InvalidParameter,
                "The URL is too long, or has invalid characters.",
            );
            return Ok((
                problem.status,
                Bytes::from(serde_json::to_vec(&problem).unwrap_or_default()),
            ));
        };
        let Some(request) = self.request.take() else {
            return Err(actix_web::error::ErrorInternalServerError(
                "the request is gone",
            ));
        };
        let mut request = ServiceRequest::from_request(request);
        aim(&mut request, method.clone(), uri);
        let headers = request.headers_mut();
        if let (Ok(token), true) = (HeaderValue::from_str(&self.token), method != Method::GET) {
            headers.insert(HeaderName::from_static(TOKEN), token);
        }
        match body {
            Some(body) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
                let bytes = stream::iter([Ok(Bytes::from(body))]);
                request.set_payload(Payload::Stream {
                    payload: Box::pin(bytes),
                });
            }
            None => {
                headers.remove(CONTENT_LENGTH);
                headers.remove(CONTENT_TYPE);
            }
        }
        let (request, answer) = self.next.call(request).await?.into_parts();
        self.request = Some(request);
        let status = answer.status().as_u16();
        let body = to_bytes(answer.into_body())
            .await
            .map_err(|_| actix_web::error::ErrorInternalServerError("the answer broke off"))?;
        Ok((status, body))
    }

    /// Gives the original request back, to be answered.
    pub(super) fn end(self) -> Result<HttpRequest, Failed> {
        let Some(request) = self.request else {
            return Err(actix_web::error::ErrorInternalServerError(
                "the request is gone",
            ));
        };
        let mut request = ServiceRequest::from_request(request);
        aim(&mut request, self.method, self.uri);
        Ok(request.into_parts().0)
    }
}

/// Redirects a request to something else, as if it had been sent that way.
fn aim(request: &mut ServiceRequest, method: Method, uri: Uri) {
    let path = request.match_info_mut();
    path.get_mut().update(&uri);
    path.reset();
    let head = request.head_mut();
    head.method = method;
    head.uri = uri;
}

fn not_read(error: &serde_json::Error) -> Problem {
    Problem::new(
        ProblemKind::NotReady,
        format!("The answer could not be read: {error}. Try again."),
    )
}
