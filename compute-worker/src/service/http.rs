//! The HTTP endpoints of a worker, if `worker_listen` is set: liveness, readiness and metrics.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{App, HttpResponse, HttpServer, web};

use super::status::{TEXT_FORMAT, WorkerStatus};

/// Server threads.
const THREADS: usize = 1;
/// Concurrent connections.
const CONNECTIONS: usize = 64;
/// Timeout for receiving a request's head.
const HEAD_DEADLINE: Duration = Duration::from_secs(5);

/// Serves on a bound listener, starting now; await the server or give it to a task.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve(listener: TcpListener, status: Arc<WorkerStatus>) -> io::Result<Server> {
    let status = web::Data::from(status);
    let server = HttpServer::new(move || App::new().app_data(status.clone()).configure(routes))
        .workers(THREADS)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEAD_DEADLINE)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
    Ok(server)
}

fn routes(app: &mut web::ServiceConfig) {
    app.route("/healthz", web::get().to(live))
        .route("/readyz", web::get().to(ready))
        .route("/metrics", web::get().to(metrics));
}

async fn live() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

/// 200, or 503 with a line for each obstacle.
async fn ready(status: web::Data<WorkerStatus>) -> HttpResponse {
    let hindrances = status.hindrances();
    if hindrances.is_empty() {
        HttpResponse::Ok().body("ready\n")
    } else {
        HttpResponse::ServiceUnavailable().body(hindrances.join("\n") + "\n")
    }
}

async fn metrics(status: web::Data<WorkerStatus>) -> HttpResponse {
    match status.render() {
        Ok(text) => HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, TEXT_FORMAT))
            .body(text),
        Err(error) => HttpResponse::InternalServerError().body(format!("{error}\n")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may panic
mod tests {
    use actix_web::test;

    use super::*;
    use crate::service::status::Edge;

    #[actix_web::test]
    async fn says_what_is_in_the_way_until_nothing_is() {
        let worker = Arc::new(WorkerStatus::new("box-1".to_owned(), "scalar", 1));
        let data = web::Data::from(Arc::clone(&worker));
        let app = test::init_service(App::new().app_data(data).configure(routes)).await;
        let ask = async |path: &str| {
            let request = test::TestRequest::get().uri(path).to_request();
            let answer = test::call_service(&app, request).await;
            let status = answer.status().as_u16();
            let body = test::read_body(answer).await;
            (status, String::from_utf8(body.to_vec()).unwrap())
        };
        assert_eq!(ask("/healthz").await.0, 200);
        let (status, words) = ask("/readyz").await;
        assert_eq!((status, words.lines().count()), (503, 2));
        for edge in Edge::ALL {
            worker.edge(edge, true);
        }
        assert_eq!(ask("/readyz").await, (200, "ready\n".to_owned()));
        let (status, text) = ask("/metrics").await;
        assert!(status == 200 && text.contains("kindred_worker_edge_up{edge=\"broker\"} 1"));
        assert_eq!(ask("/v1/domains").await.0, 404);
    }
}
