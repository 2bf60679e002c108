//! The widget that sites embed in their pages.

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::{HttpRequest, HttpResponse, get};
use utoipa_actix_web::service_config::ServiceConfig;
use xxhash_rust::xxh3::xxh3_128;

use super::browsers;

/// The script that pages load.
const SCRIPT: &str = include_str!("../../../web/embed.js");
/// Pages may use a cached script for an hour after a new one is released.
const KEPT: &str = "public, max-age=3600";

pub(crate) fn configure(config: &mut ServiceConfig<'_>) {
    config.service(embed);
}

/// The widget: a script that puts related items into pages of other origins.
#[utoipa::path(tag = "service", responses(
    (status = 200, description = "The script.", body = String, content_type = "text/javascript"),
    (status = 304, description = "The client already has it."),
))]
#[get("/embed.js")]
async fn embed(request: HttpRequest) -> HttpResponse {
    let tag = format!("\"{:032x}\"", xxh3_128(SCRIPT.as_bytes()));
    let known = request.headers().get(IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| browsers::is_known(known, &tag));
    let mut answer = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    answer
        .insert_header((ETAG, tag))
        .insert_header((CACHE_CONTROL, KEPT))
        // For pages that require opt-in from embedded resources, or check the script's hash.
        .insert_header(("access-control-allow-origin", "*"))
        .insert_header(("cross-origin-resource-policy", "cross-origin"));
    match is_known {
        true => answer.finish(),
        false => answer
            .content_type("text/javascript; charset=utf-8")
            .body(SCRIPT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widget_is_small() {
        assert!(SCRIPT.len() <= 3 << 10, "{} bytes", SCRIPT.len());
    }
}
