//! A function that streams its reply, as users of `lambda_runtime` write it.
//!
//! By the path of the Function URL's event, or by the field `path` of any other event:
//!
//! | path           | reply                                                                  |
//! |----------------|------------------------------------------------------------------------|
//! | `/prelude`     | 201, `x-stream: yes`, two cookies, `text/plain`, and chunks as below   |
//! | `/error`       | two chunks, then an error, which lambda_runtime writes into the body   |
//! | `/large?mib=N` | N MiB (default 16) of zeros                                            |
//! | `/silent`      | one chunk at once and none after it, until the node ends it            |
//! | `/buffered`    | no stream: the JSON `{"statusCode":200,"body":"buffered"}`             |
//! | any other      | `Hello\n`, `world\n`, `from\n`, `Lambda!\n`, 100 ms apart, and no head |

use std::io;
use std::time::Duration;

use bytes::Bytes;
use lambda_runtime::{
    Error, FunctionResponse, LambdaEvent, MetadataPrelude, StreamResponse, run, service_fn,
};
use serde_json::{Value, json};
use tokio::sync::mpsc::{Sender, channel};
use tokio_stream::wrappers::ReceiverStream;

type Chunk = io::Result<Bytes>;
type Reply = FunctionResponse<Value, ReceiverStream<Chunk>>;

const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Reply, Error> {
    let event = event.payload;
    let path = event["rawPath"].as_str().or(event["path"].as_str()).unwrap_or("/").to_owned();
    if path == "/buffered" {
        return Ok(FunctionResponse::BufferedResponse(
            json!({ "statusCode": 200, "body": "buffered" }),
        ));
    }
    let mib: usize = query::value(event["rawQueryString"].as_str(), "mib", 16)?;
    let mut prelude = MetadataPrelude::default();
    if path == "/prelude" {
        prelude.status_code = "201".parse()?;
        prelude.headers.insert("content-type", "text/plain".parse()?);
        prelude.headers.insert("x-stream", "yes".parse()?);
        prelude.cookies = vec!["one=1; Path=/".to_owned(), "two=2".to_owned()];
    }
    let (sender, receiver) = channel(1);
    tokio::spawn(async move {
        // The only error is that nobody reads on.
        let _ = send(&path, mib, &sender).await;
    });
    let stream = ReceiverStream::new(receiver);
    Ok(FunctionResponse::StreamingResponse(StreamResponse { metadata_prelude: prelude, stream }))
}

async fn send(
    path: &str,
    mib: usize,
    sender: &Sender<Chunk>,
) -> Result<(), tokio::sync::mpsc::error::SendError<Chunk>> {
    const PIECE: &[u8] = &[0; 64 * 1024];
    match path {
        "/large" => {
            for _ in 0..mib * (1024 * 1024 / PIECE.len()) {
                sender.send(Ok(Bytes::from_static(PIECE))).await?;
            }
        }
        "/silent" => {
            sender.send(Ok("begin\n".into())).await?;
            sender.closed().await;
        }
        "/error" => {
            sender.send(Ok("one\n".into())).await?;
            tokio::time::sleep(PAUSE).await;
            sender.send(Ok("two\n".into())).await?;
            sender.send(Err(io::Error::other("broken off"))).await?;
        }
        _ => {
            for word in ["Hello\n", "world\n", "from\n", "Lambda!\n"] {
                sender.send(Ok(word.into())).await?;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(())
}
