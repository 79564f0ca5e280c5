//! Routing by the list of endpoints in [`api::endpoints`]: what has a path here is in that list,
//! and so in the OpenAPI document. Owns no fds.

use std::sync::Arc;

use api::endpoint::{Endpoint, Method};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::routing::{MethodFilter, any, on};

use crate::control::Control;
use crate::failed::{Failed, bad_request};

/// A router of the control API.
pub(crate) type Router = axum::Router<Arc<Control>>;

/// The result of a handler of `E` that answers JSON with the status 200.
pub(crate) type Answered<E> = Result<Json<<E as Endpoint>::Answer>, Failed>;

/// A router whose methods and paths are those of endpoints.
pub(crate) trait Routes {
    /// Has `handler` answer requests to `endpoint`.
    fn serve<E: Endpoint, T: 'static>(
        self,
        endpoint: E,
        handler: impl Handler<T, Arc<Control>>,
    ) -> Self;
}

impl Routes for Router {
    fn serve<E: Endpoint, T: 'static>(self, _: E, handler: impl Handler<T, Arc<Control>>) -> Self {
        let filter = match E::METHOD {
            Method::Get => MethodFilter::GET,
            Method::Put => MethodFilter::PUT,
            Method::Post => MethodFilter::POST,
            Method::Delete => MethodFilter::DELETE,
            Method::Any => return self.route(E::PATH, any(handler)),
        };
        self.route(E::PATH, on(filter, handler))
    }
}

/// The query of a request to `E`.
pub(crate) struct QueryOf<E: Endpoint>(pub(crate) E::Query);

impl<E: Endpoint, S: Send + Sync> FromRequestParts<S> for QueryOf<E> {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failed> {
        let query = Query::try_from_uri(&parts.uri);
        let refused = |rejection: QueryRejection| bad_request(rejection.body_text());
        query.map(|Query(query)| Self(query)).map_err(refused)
    }
}
