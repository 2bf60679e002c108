//! Health: whether the process is alive, and whether to send it requests.

use actix_web::{HttpResponse, get, web};
use kindred_api::service::Ready;
use utoipa_actix_web::service_config::ServiceConfig;

use super::error::Error;
use super::openapi;
use super::parts::Lobby;
use super::readiness::not_ready;

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(healthz).service(readyz);
}

/// Whether the process is alive.
///
/// Says nothing about the store or the broker: restart the process only when this fails.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "The process answers.", body = String, content_type = "text/plain", example = "ok"),
))]
#[get("/healthz")]
async fn healthz() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .body("ok")
}

/// Whether the service is ready: send it traffic while this is 200.
///
/// Once started, a service stays ready while it can answer readers. What it lacks meanwhile, such as the broker, is in
/// `degraded`: all instances lose a broker at once, and removing all of them from a load balancer would also stop the
/// answers that they can still give.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "The service works.", body = Ready),
    (status = 503, response = openapi::NotReady),
))]
#[get("/readyz")]
async fn readyz(lobby: web::Data<Lobby>) -> Result<web::Json<Ready>, Error> {
    let reasons = lobby.readiness.reasons();
    if reasons.is_empty() {
        let degraded = lobby.readiness.degraded();
        return Ok(web::Json(Ready {
            ready: true,
            degraded,
        }));
    }
    Err(not_ready(reasons))
}
