//! A way in without a socket: it takes a request from memory and returns the whole reply. The
//! [Lambda way in](super::lambda) is made of it, and tests of the layers below. Owns no fds.

use std::net::SocketAddr;
use std::rc::Rc;

use abi::message::Awaits;
use abi::outcome::ReplyEnd;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

use crate::origin::{Client, NODE_ADDRESS};
use crate::run::body::{BodyError, RequestBody};
use crate::serve::{Account, Exchange, Moved, Pipeline, RequestSource};

struct InMemory(Bytes);

impl RequestSource for InMemory {
    fn limit(&self, bytes_max: u64) -> Result<(), BodyError> {
        let fits = self.0.len() as u64 <= bytes_max;
        fits.then_some(()).ok_or(BodyError::TooLarge { limit: bytes_max })
    }

    fn body(&self) -> RequestBody {
        RequestBody::new(Full::new(self.0.clone()).map_err(|never| match never {}))
    }

    fn failure(&self) -> Option<BodyError> {
        None
    }

    fn local_address(&self) -> SocketAddr {
        NODE_ADDRESS
    }
}

/// Why there is no whole reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the function failed after it had begun its reply; its log says why")]
    Cut,
    #[error("the function's reply has more than {bytes_max} bytes")]
    TooLong { bytes_max: usize },
    #[error("no function of this process answers the request")]
    Elsewhere,
}

/// Has `pipeline` answer a request, and returns the whole reply, of at most `bytes_max` bytes.
///
/// # Errors
/// [`ReplyError`] if the function fails during its reply, or the reply is too long.
pub(crate) async fn request(
    pipeline: &Rc<Pipeline>,
    request: Request<Bytes>,
    client: Client,
    bytes_max: usize,
) -> Result<Response<Bytes>, ReplyError> {
    let (parts, body) = request.into_parts();
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let found = pipeline.find(host, &parts.uri.to_string(), Awaits::Admin);
    let (destination, _) = found.ok_or(ReplyError::Elsewhere)?;
    let source = InMemory(body);
    let (prefix, client_places, may_wait, arrived) = Default::default();
    let request = Request::from_parts(parts, ());
    let exchange =
        Exchange { request, prefix, client, client_places, destination, may_wait, arrived };
    let exchange = Box::new(exchange);
    let account = Account::open(pipeline, &exchange);
    let (head, body) = pipeline.answer(exchange, &source, &account).await.into_parts();
    let status = head.status.as_u16();
    let collected = Limited::new(body, bytes_max).collect().await;
    let (sent, reply) = match collected {
        Ok(whole) => (ReplyEnd::Whole(status), Ok(whole.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => {
            (ReplyEnd::Cut(status), Err(ReplyError::TooLong { bytes_max }))
        }
        Err(_) => (ReplyEnd::Cut(status), Err(ReplyError::Cut)),
    };
    let sent_bytes = reply.as_ref().map_or(0, Bytes::len) as u64;
    account.close(pipeline, sent, Moved { received_bytes: source.0.len() as u64, sent_bytes });
    pipeline.drop_retired();
    reply.map(|body| Response::from_parts(head, body))
}

#[cfg(test)]
mod tests {
    mod respond_async;

    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    use abi::board::Board;
    use abi::catalogue::{Alias, Catalogue, CatalogueView, Function, Spec, Target, Version};
    use abi::channel::{Channel, ReceiveBuffer};
    use abi::function::{FunctionLimits, Isolation, Kind, NetworkMode, Output, WebSocketMode};
    use abi::message::{AccessLog, Settings, ToEngine, ToWorker};
    use abi::outcome::Reason;

    use crate::counters::Counters;
    use crate::drain::Drain;
    use crate::log::Format;
    use crate::run::Shared;
    use crate::run::table::{NEVER, Ready, Table, TableRuntime};
    use crate::run::thread::{GuestThread, TurnObserver};
    use crate::serve::{Functions, Routing};
    use crate::{guest_log, link};

    /// A reply's status and body. `None` if another worker has to answer.
    type Answer = Option<(u16, String)>;

    const TABLE: Table =
        &[("/hello", 200, "Hello, "), ("/teapot", 418, "short and stout"), ("/never", NEVER, "")];

    struct NobodyWaits;

    impl TurnObserver for NobodyWaits {
        fn turn_begins(&self, _: Duration) {}
        fn turn_ended(&self, _: Duration) {}
    }

    fn settings() -> Settings {
        Settings {
            only_function: None,
            shared_rows: 1,
            address_seed: 1,
            names: abi::names::Names::default(),
            https_redirect: None,
            trusted_proxies: Vec::new(),
            head_timeout_ms: 1000,
            idle_timeout_ms: 1000,
            write_timeout_ms: 1000,
            access_log: AccessLog::Off,
            logs: false,
            guest_stderr: false,
            trace_sample: 0,
            native_cores: Vec::new(),
            native_sandbox: abi::sandbox::Level::Full,
            log_filter: "info".to_owned(),
        }
    }

    /// Returns a catalogue of one function, `table`.
    fn catalogue(limits: FunctionLimits) -> CatalogueView {
        let (env, config, args, allow_outbound, handler) = Default::default();
        let (kind, output, requests_per_instance_max) = (Kind::Command, Output::Raw, 1);
        let spec = Spec {
            kind,
            limits,
            requests_per_instance_max,
            env,
            config,
            args,
            output,
            allow_outbound,
            kv: Vec::new(),
            handler,
            network: NetworkMode::default(),
            websocket: WebSocketMode::default(),
            respond_async: true,
            report_lines: false,
        };
        let target = Target { version: 0, spec: 0, weight: 1 };
        let function = Function {
            name: "table".to_owned(),
            isolation: Isolation::Shared,
            slot: 0,
            slot_incarnation: 1,
            secrets: 0,
            previews: false,
            aliases: vec![Alias { name: "active".to_owned(), targets: vec![target] }],
            versions: vec![Version {
                number: 1,
                id: [1; 16],
                module: [7; 32],
                assets: None,
                spec: 0,
            }],
        };
        let sealed = Catalogue {
            generation: 1,
            functions: vec![function],
            specs: vec![spec],
            hosts: Vec::new(),
        }
        .seal()
        .unwrap();
        CatalogueView::new(sealed).unwrap()
    }

    struct Worker {
        pipeline: Rc<Pipeline>,
        counters: Rc<Counters>,
        ready: Rc<Ready>,
        engine: Channel,
    }

    impl Worker {
        fn start(limits: FunctionLimits) -> Self {
            Self::start_routed(limits, Routing::ByName)
        }

        fn start_routed(limits: FunctionLimits, routing: Routing) -> Self {
            let (engine, own) = Channel::pair().unwrap();
            let (_, outbox) = link::open::<ToWorker, ToEngine>(own).unwrap();
            let counters = Rc::new(Counters::new(Arc::new(Board::create().unwrap().0), 0));
            let thread = GuestThread::new(Rc::clone(&counters), Rc::new(NobodyWaits));
            let log = guest_log::start(Format::Text, false, None).unwrap();
            let shared = Rc::new(Shared {
                counters: Rc::clone(&counters),
                log,
                thread,
                state: Arc::default(),
                websockets: crate::push::WebSockets::new(0).0,
                native_cores: Vec::new(),
                native_sandbox: abi::sandbox::Level::Full,
            });
            let ready = Rc::<Ready>::default();
            let runtime = TableRuntime { table: TABLE, ready: Rc::clone(&ready) };
            let functions = Functions::new(Box::new(runtime), outbox, catalogue(limits));
            let drain = Rc::<Drain>::default();
            let pipeline = Pipeline::new(settings(), routing, functions, shared, drain);
            Self { pipeline, counters, ready, engine }
        }

        /// Requests a path.
        async fn request(&self, target: &str, body: &'static str) -> Answer {
            let built =
                Request::post(target).header(HOST, "table.localhost").body(body.into()).unwrap();
            let asking = async {
                let reply = request(&self.pipeline, built, Client::NODE, 1024).await.ok()?;
                let text = String::from_utf8_lossy(reply.body()).into_owned();
                Some((reply.status().as_u16(), text))
            };
            tokio::select! {
                answer = asking => answer,
                () = self.send_code() => unreachable!("it sends for ever"),
            }
        }

        /// Plays the engine: sends the code once the worker requests it. Never returns.
        async fn send_code(&self) {
            let mut buffer = ReceiveBuffer::default();
            loop {
                if let Ok(received) = self.engine.receive::<ToEngine>(&mut buffer)
                    && let ToEngine::RequestModule { key } = received.message
                {
                    let memory = abi::sealed::create("module", b"a table").unwrap();
                    self.pipeline.functions.module_arrived(key, memory);
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_request_from_memory_is_run_by_a_table_and_counted_like_any_other() {
        run(async {
            let worker = Worker::start(FunctionLimits::default());
            assert_eq!(worker.request("/hello", "you").await, Some((200, "Hello, you".to_owned())));
            assert_eq!(
                worker.request("/teapot", "").await,
                Some((418, "short and stout".to_owned()))
            );
            let counts = worker
                .counters
                .function(crate::counters::FunctionSlot { index: 0, incarnation: 1 })
                .unwrap();
            assert_eq!(counts.outcomes.get().iter().sum::<u64>(), 2);
            assert_eq!(counts.sent_bytes.get(), 10 + 15);
            assert_eq!(worker.pipeline.in_flight(), 0);
        });
    }

    #[test]
    fn what_holds_for_every_way_of_running_holds_for_a_table() {
        run(async {
            let limits = FunctionLimits {
                timeout_ms: 50,
                request_body_bytes_max: 3,
                ..FunctionLimits::default()
            };
            let worker = Worker::start(limits);
            let status = async |target: &str, body| worker.request(target, body).await.unwrap().0;
            assert_eq!(status("/hello", "four").await, 413);
            assert_eq!(status("/never", "").await, 504);
            assert_eq!(status("/none", "").await, 500);
            let counts = worker
                .counters
                .function(crate::counters::FunctionSlot { index: 0, incarnation: 1 })
                .unwrap();
            for reason in [Reason::RequestBody, Reason::Timeout, Reason::Reply] {
                assert_eq!(counts.reasons.get()[reason as usize], 1, "{reason:?}");
            }
        });
    }

    #[test]
    fn what_a_call_has_taken_is_made_ready_again_for_the_next() {
        run(async {
            let worker = Worker::start(FunctionLimits::default());
            for calls in 1..=3 {
                assert_eq!(worker.request("/hello", "").await.unwrap().0, 200);
                let prepared = async {
                    while worker.ready.prepared.get() < calls {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    () = worker.pipeline.stand_by() => unreachable!("it runs for ever"),
                    ended = tokio::time::timeout(Duration::from_secs(10), prepared) => ended.unwrap(),
                }
            }
        });
    }

    #[test]
    fn a_version_is_tried_before_it_is_served() {
        run(async {
            let worker = Worker::start(FunctionLimits::default());
            assert_eq!(worker.request("/hello", "").await.unwrap().0, 200);
            let tried = worker.pipeline.try_start(catalogue(FunctionLimits::default())).await;
            assert_eq!(tried, Ok(()));
        });
    }
}
