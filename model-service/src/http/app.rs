//! The application: every resource, and the middleware for every request.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, web};
use utoipa_actix_web::AppExt;

use super::parts::Lobby;
use super::routes::Routes;
use super::{
    access, activity, batch, browsers, domains, edge, embed, experiments, export, feedback, health,
    items, keys, listing, log, map, metrics, models, openapi, page, patches, queries, removal,
    repair, settings, similar, workers,
};
use crate::metrics::Metrics;

/// The application; parts of the service that are not up yet answer 503.
pub(crate) fn app(
    lobby: web::Data<Lobby>,
    counted: web::Data<Metrics>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let (app, document) = App::new()
        .into_utoipa_app()
        .openapi(openapi::problems())
        // Routes are tried in this order, with regular expressions: the most frequent one comes
        // first.
        .configure(similar::configure)
        .configure(queries::configure)
        .configure(items::configure)
        .configure(patches::configure)
        .configure(batch::configure)
        .configure(listing::configure)
        .configure(export::configure)
        .configure(domains::configure)
        .configure(settings::configure)
        .configure(removal::configure)
        .configure(models::configure)
        .configure(experiments::configure)
        .configure(log::configure)
        .configure(feedback::configure)
        .configure(keys::configure)
        .configure(repair::configure)
        .configure(map::configure)
        .configure(workers::configure)
        .configure(activity::configure)
        .configure(health::configure)
        .configure(metrics::configure)
        .configure(openapi::configure)
        .configure(embed::configure)
        .split_for_parts();
    app.app_data(lobby)
        .app_data(counted)
        .app_data(web::Data::new(Routes::documented(&document)))
        .app_data(web::Data::new(openapi::Document::of(document)))
        .default_service(web::to(edge::unmatched))
        .wrap(from_fn(edge::conform))
        .wrap(from_fn(browsers::serve))
        .wrap(from_fn(access::check))
        .wrap(from_fn(page::serve))
        .wrap(from_fn(edge::named))
        .wrap(from_fn(edge::observe))
}
