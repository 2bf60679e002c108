//! Metrics, for scrapers.

use actix_web::{HttpResponse, get, web};
use utoipa_actix_web::service_config::ServiceConfig;

use crate::metrics::{Metrics, TEXT_FORMAT};

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(metrics);
}

/// Metrics in Prometheus' text format.
///
/// Every metric's help names its unit.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "All metrics.", body = String, content_type = "text/plain",
     example = "# HELP kindred_items_pending Accepted items whose lists are not made yet (items).\n# TYPE kindred_items_pending gauge\nkindred_items_pending 0\n"),
))]
#[get("/metrics")]
pub(super) async fn metrics(metrics: web::Data<Metrics>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(TEXT_FORMAT)
        .body(metrics.render())
}
