//! Asking this interface itself: a view is made of what it answers, so that it holds no more than who looks may see.

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
use kindred_api::problem::{Kind, Problem};
use serde::de::DeserializeOwned;

use super::super::access::TOKEN;

/// Of a request to the page what is none of the interface's business.
const OF_THE_PAGE: [HeaderName; 6] = [
    ACCEPT,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    IF_NONE_MATCH,
    ORIGIN,
];

/// Something else failed than what was asked: the answer cannot be given.
pub(super) type Failed = actix_web::Error;

/// Asks one request after the other, as who sent the first.
pub(super) struct Ask<B> {
    next: Next<B>,
    /// The request; it is lent to what is asked.
    request: Option<HttpRequest>,
    method: Method,
    uri: Uri,
    /// What changes bring along.
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

    /// What a GET of a path answers, or the problem that it is.
    pub(super) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
    ) -> Result<Result<T, Problem>, Failed> {
        self.ask(Method::GET, path, None).await
    }

    /// What is answered, or the problem that it is.
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
                Kind::InvalidParameter,
                "The address is too long, or has characters that none may have.",
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

    /// The request as it came, to be answered.
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

/// Has a request ask something else, as if it had come so.
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
        Kind::NotReady,
        format!("The answer could not be read: {error}. Ask again."),
    )
}
