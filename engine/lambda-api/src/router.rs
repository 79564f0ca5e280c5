//! The API as an axum router. Owns no fds.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post, put};
use tokio::sync::Semaphore;

use crate::api::{Api, Settings};
use crate::authenticate::authenticate;
use crate::handlers::{account, aliases, concurrency, functions, invoke, url, versions};
use crate::invocation::PAYLOAD_BYTES_MAX;
use crate::lambda::Lambda;
use crate::operations;

/// How many requests with code are held in memory at a time. More wait before their bodies are
/// read.
const UPLOADS_MAX: usize = 2;
/// How much of other bodies is held in memory at a time, in KiB: 64 of the largest payloads. More
/// wait before they are read.
const BODIES_KIB_MAX: usize = 64 * PAYLOAD_BYTES_MAX / 1024;

/// Returns the API of `lambda`. Every request must be signed. Whoever serves it limits how many
/// connections there are, and how long a request's head may take; here it is limited how long and
/// how large bodies may be.
pub fn router<L: Lambda>(lambda: L, settings: Settings) -> Router {
    let uploads = Arc::new(Semaphore::new(UPLOADS_MAX));
    let bodies = Arc::new(Semaphore::new(BODIES_KIB_MAX));
    let api = Arc::new(Api { lambda, settings, uploads, bodies });
    let function = "/2015-03-31/functions/{name}";
    let of = |rest: &str| format!("{function}{rest}");
    let operations = Router::new()
        .route("/2015-03-31/functions", get(functions::list::<L>).post(functions::create::<L>))
        .route(function, get(functions::get::<L>).delete(functions::delete::<L>))
        .route(&of("/code"), put(functions::update_code::<L>))
        .route(
            &of("/configuration"),
            get(functions::configuration::<L>).put(functions::update_configuration::<L>),
        )
        .route(&of("/invocations"), post(invoke::invoke::<L>))
        .route(
            "/2021-11-15/functions/{name}/response-streaming-invocations",
            post(invoke::invoke_streaming::<L>),
        )
        .route(&of("/versions"), get(versions::list::<L>).post(versions::publish::<L>))
        .route(&of("/aliases"), get(aliases::list::<L>).post(aliases::create::<L>))
        .route(
            &of("/aliases/{alias}"),
            get(aliases::get::<L>).put(aliases::update::<L>).delete(aliases::delete::<L>),
        )
        .route(
            "/2017-10-31/functions/{name}/concurrency",
            put(concurrency::set::<L>).delete(concurrency::unset::<L>),
        )
        .route("/2019-09-30/functions/{name}/concurrency", get(concurrency::get::<L>))
        .route(
            "/2021-10-31/functions/{name}/url",
            get(url::get::<L>).post(url::create::<L>).put(url::update::<L>),
        )
        .route("/2021-10-31/functions/{name}/urls", get(url::list::<L>))
        .route("/2016-08-19/account-settings", get(account::settings::<L>))
        .route("/2017-03-31/tags/{arn}", get(account::tags::<L>))
        .fallback(operations::unsupported)
        .method_not_allowed_fallback(operations::unsupported)
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(&api));
    // Outside of the routes, so that it may change the path that they are chosen by.
    Router::new().fallback_service(operations).layer(from_fn_with_state(api, authenticate::<L>))
}
