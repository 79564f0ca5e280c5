//! One stream of a client: from its request to the end of its reply. Owns no fds.

use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use abi::invocation_id::InvocationId;
use abi::problem::{INVOCATION_ID_HEADER, Problem};
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, EXPECT, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::fields::join_cookies;
use super::super::pump::{Broken, pump, reason, room};
use super::leg::{Refusal, lost};
use super::target::{Depth, Target};
use super::{Active, Session};
use crate::serve::problem_response;

/// How often a stream is sent on another leg, because one leads elsewhere or has just ended.
const TRIES_MAX: u32 = 5;

/// What came of a request that was sent on.
enum Answer {
    Reply(Response<RecvStream>, Option<Upload>),
    Refused(Refusal),
    /// The worker has reset it.
    Reset(Reason),
}

/// Answers a stream.
pub(super) async fn run(
    active: Active,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let session = &active.0;
    let (mut parts, body) = request.into_parts();
    let is_head = parts.method == Method::HEAD;
    let target = match Target::of(&parts) {
        Ok(target) => target,
        Err(problem) => return refuse(session, respond, &problem, is_head).await,
    };
    let expects = parts.headers.remove(EXPECT).is_some_and(|expected| {
        expected.as_bytes().eq_ignore_ascii_case(b"100-continue") && !body.is_end_stream()
    });
    if expects {
        // A client that does not get it waits for a while, and sends its body all the same.
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        let _ = respond.send_informational(interim);
    }
    parts.headers.remove(HOST);
    join_cookies(&mut parts.headers);
    let answer = {
        let mut answer = pin!(forward(session, &target, &parts, body));
        poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        })
        .await
    };
    match answer {
        // What was sent on is reset with it.
        None => active.was_reset(),
        Some(Answer::Reset(reason)) => respond.send_reset(reason),
        Some(Answer::Refused(Refusal::Answer(answer))) => {
            reply(session, respond, answer, is_head).await;
        }
        Some(Answer::Refused(Refusal::Problem(problem))) => {
            refuse(session, respond, &problem, is_head).await;
        }
        Some(Answer::Reply(response, upload)) => {
            let (head, mut body) = response.into_parts();
            let is_whole = body.is_end_stream();
            let Ok(mut to) = respond.send_response(Response::from_parts(head, ()), is_whole) else {
                return;
            };
            if is_whole {
                return finish(upload).await;
            }
            match pump(&mut body, &mut to, Some(session.timeouts.write)).await {
                Ok(()) => finish(upload).await,
                Err(Broken::Sender(reason)) => to.send_reset(reason),
                Err(Broken::Receiver(reason)) => {
                    active.was_reset();
                    to.send_reset(reason);
                }
            }
        }
    }
}

/// Waits for the rest of a request that is answered: a function may read on behind its reply. A
/// client whose request nobody reads any more is told to stop (RFC 9113 8.1).
async fn finish(upload: Option<Upload>) {
    if let Some(mut upload) = upload {
        // It is ended by either side, or by whoever drops it, and does not panic.
        let _ = (&mut upload.0).await;
    }
}

/// Sends a request on, and waits for the head of its reply.
async fn forward(session: &Session, target: &Target, parts: &Parts, body: RecvStream) -> Answer {
    let kind = target.key(Depth::Path).1;
    let has_body = !body.is_end_stream();
    let mut body = Some(body);
    for _ in 0..TRIES_MAX {
        let found = match session.legs.get(&session.sessions, session.origin, target).await {
            Ok(found) => found,
            Err(refusal) => return Answer::Refused(refusal),
        };
        let Ok(mut sender) = found.leg.sender.clone().ready().await else {
            session.legs.forget(&found.leg);
            continue;
        };
        let waits = has_body && !found.leg.is_confirmed(&kind);
        let Ok(request) = on_leg(session, target, parts, waits) else {
            let why = "the request's :path is not a path";
            return Answer::Refused(Refusal::Problem(Problem::new(400, why.to_owned())));
        };
        let Ok((mut response, to)) = sender.send_request(request, !has_body) else {
            session.legs.forget(&found.leg);
            continue;
        };
        let early = if waits { poll_fn(|cx| poll_early(&mut response, cx)).await } else { None };
        let mut upload = None;
        let answered = match early {
            // Nobody reads the body of a request that is answered already.
            Some(answered) => answered,
            None => {
                upload = body.take_if(|_| has_body).map(|body| Upload::begin(body, to));
                response.await
            }
        };
        let error = match answered {
            Ok(response) => {
                found.leg.confirm(kind);
                return Answer::Reply(response, upload);
            }
            Err(error) => error,
        };
        let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        let is_left = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        if is_refused {
            session.legs.refused(target, &found);
        } else if !error.is_reset() {
            session.legs.forget(&found.leg);
        }
        // Nobody has begun it, so it can be sent again if nothing of its body has gone. A client
        // that is told so may send it again itself (RFC 9113 8.7).
        match (is_refused || is_left, upload) {
            (true, None) => {}
            (true, Some(_)) => return Answer::Reset(Reason::REFUSED_STREAM),
            (false, _) if error.is_reset() => return Answer::Reset(reason(&error)),
            (false, _) => return Answer::Refused(lost()),
        }
    }
    Answer::Refused(lost())
}

/// Resolves with the reply, or with `None` if the request is taken and its body may come.
fn poll_early(
    response: &mut ResponseFuture,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Response<RecvStream>, h2::Error>>> {
    match response.poll_informational(cx) {
        Poll::Ready(Some(Ok(_))) => Poll::Ready(None),
        Poll::Ready(None | Some(Err(_))) => Pin::new(response).poll(cx).map(Some),
        Poll::Pending => Poll::Pending,
    }
}

/// Returns the request as it is sent to a worker. `asks` has the worker say that it takes it.
fn on_leg(
    session: &Session,
    target: &Target,
    parts: &Parts,
    asks: bool,
) -> Result<Request<()>, http::Error> {
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = target.url(session.origin.https)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = parts.headers.clone();
    if let Some(protocol) = parts.extensions.get::<Protocol>() {
        request.extensions_mut().insert(protocol.clone());
    }
    if asks {
        request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
    }
    Ok(request)
}

/// The task that sends a request's body on. Ends with its owner at the latest.
struct Upload(JoinHandle<()>);

impl Upload {
    fn begin(mut body: RecvStream, mut to: SendStream<Bytes>) -> Self {
        let task = tokio::task::spawn_local(async move {
            // A function may take its time, and has a limit of its own.
            if let Err(Broken::Sender(_)) = pump(&mut body, &mut to, None).await {
                to.send_reset(Reason::CANCEL);
            }
        });
        Self(task)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers with an error of the node's own.
async fn refuse(session: &Session, respond: SendResponse<Bytes>, problem: &Problem, is_head: bool) {
    let id = InvocationId::new();
    let mut answer = problem_response(problem, id);
    if let Ok(id) = HeaderValue::from_bytes(&id.text()) {
        answer.headers_mut().insert(HeaderName::from_static(INVOCATION_ID_HEADER), id);
    }
    reply(session, respond, answer, is_head).await;
}

/// Answers with a whole reply.
async fn reply(
    session: &Session,
    mut respond: SendResponse<Bytes>,
    answer: Response<Bytes>,
    is_head: bool,
) {
    let (mut head, mut body) = answer.into_parts();
    head.version = Version::HTTP_2;
    head.headers.insert(CONTENT_LENGTH, body.len().into());
    let is_bodiless = is_head || body.is_empty();
    let Ok(mut to) = respond.send_response(Response::from_parts(head, ()), is_bodiless) else {
        return;
    };
    if !is_bodiless {
        // A client that takes none of it is given up with the stream.
        let _ = timeout(session.timeouts.write, send(&mut body, &mut to)).await;
    }
}

async fn send(body: &mut Bytes, to: &mut SendStream<Bytes>) -> Option<()> {
    while !body.is_empty() {
        let room = room(to, body.len()).await.ok()?;
        let piece = body.split_to(room.min(body.len()));
        to.send_data(piece, body.is_empty()).ok()?;
    }
    Some(())
}
