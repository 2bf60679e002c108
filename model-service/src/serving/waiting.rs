//! What HTTP answers before the service is there: that the process lives, and what it waits for.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::address::Address;
use super::health::{Readiness, healthz, metrics_of, not_ready};
use super::openapi;
use crate::metrics::Metrics;

struct Waiting {
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
}

/// Serves on a bound listener until it is told to stop. Signals are the caller's.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
) -> io::Result<Server> {
    let data = web::Data::new(Waiting { metrics, readiness });
    let app = move || {
        App::new()
            .app_data(data.clone())
            .default_service(web::to(answer))
    };
    Ok(HttpServer::new(app)
        .workers(1)
        // A connection that is kept would be cut when the service takes over.
        .keep_alive(actix_web::http::KeepAlive::Disabled)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run())
}

async fn answer(request: HttpRequest, waiting: web::Data<Waiting>) -> HttpResponse {
    match Address::parse(request.uri().path()) {
        Ok(Address::Index) => openapi::index(),
        Ok(Address::Health) => healthz(),
        Ok(Address::Metrics) => metrics_of(&waiting.metrics),
        Ok(Address::OpenApi) => openapi::openapi_json(),
        Ok(_) => not_ready(waiting.readiness.reasons()).response(),
        Err(problem) => problem.response(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service, read_body};

    use super::*;

    #[actix_web::test]
    async fn it_lives_and_says_what_it_waits_for() {
        let data = web::Data::new(Waiting {
            metrics: Arc::new(Metrics::new()),
            readiness: Arc::new(Readiness::waiting_for("database", "not connected yet")),
        });
        let app = App::new().app_data(data).default_service(web::to(answer));
        let app = init_service(app).await;
        for (uri, status, words) in [
            ("/healthz", 200, "ok"),
            ("/readyz", 503, "database: not connected yet"),
            ("/v1/domains/x/items/y", 503, "database: not connected yet"),
            ("/metrics", 200, "kindred_items_pending"),
            ("/nowhere", 404, "unknown-path"),
        ] {
            let answer = call_service(&app, TestRequest::with_uri(uri).to_request()).await;
            assert_eq!(answer.status().as_u16(), status, "{uri}");
            let asks_again = answer.headers().contains_key("retry-after");
            assert_eq!(asks_again, status == 503, "{uri}");
            let body = read_body(answer).await;
            let text = String::from_utf8_lossy(&body);
            assert!(text.contains(words), "{uri}: {text}");
        }
    }
}
