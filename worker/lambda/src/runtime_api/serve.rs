//! HTTP/1.1 on the connections of a process. Owns each stream until its end.

use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::Connection;
use super::process::RuntimeApi;
use super::service::respond;
use crate::limits::REQUEST_HEAD_BYTES_MAX;

impl RuntimeApi {
    /// Serves a connection that the process has made, until either side closes it. Requests may
    /// take for ever: a runtime waits for its next event as long as there is none.
    ///
    /// Each connection needs a task of its own, on the thread of this value.
    ///
    /// # Errors
    ///
    /// Returns an error if the client does not speak HTTP/1.1, or closes the connection while it
    /// waits for an event or gets a response. The process may connect again.
    pub async fn serve<I>(self: Rc<Self>, stream: I) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let connected = Connected::new(self.clone());
        let connection = Connection::new(stream);
        let service = service_fn(|request| respond(self.clone(), connection.clone(), request));
        let outcome = http1::Builder::new()
            // The limit of trailers, too: Go's have an error with its stack trace.
            .max_header_size(REQUEST_HEAD_BYTES_MAX)
            .max_buf_size(REQUEST_HEAD_BYTES_MAX)
            .half_close(true)
            .serve_connection(TokioIo::new(connection.clone()), service)
            .await;
        drop(connected);
        outcome
    }
}

/// A connection that is served.
struct Connected(Rc<RuntimeApi>);

impl Connected {
    fn new(api: Rc<RuntimeApi>) -> Self {
        api.connected();
        Self(api)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.disconnected();
    }
}
