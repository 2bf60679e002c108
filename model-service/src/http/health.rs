//! Health: is the process there, and may it be asked.

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

/// Is the process there.
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

/// May it be asked: send it traffic while this is 200.
///
/// A service that has begun stays ready while it can answer readers. What it does without meanwhile, the
/// broker for example, is in `degraded`: all instances lose a broker at once, and taking all of them out
/// of a load balancer would end the answers, too.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "The service does its work.", body = Ready),
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
