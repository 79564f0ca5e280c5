//! Written with Spin's SDK: keeps what is put at a path in the store that `?store=` names.
//!
//! `PUT`, `GET` and `DELETE` are for one key, `OPTIONS` asks whether it is there, and `GET /` lists
//! all. What the store refuses is answered with 500 and the reason.

use spin_sdk::http::{IntoResponse, Method, Request, Response};
use spin_sdk::http_component;
use spin_sdk::key_value::{Error, Store};

#[http_component]
fn handle(request: Request) -> impl IntoResponse {
    answer(&request).unwrap_or_else(|error| Response::new(500, error.to_string()))
}

fn answer(request: &Request) -> Result<Response, Error> {
    let store = Store::open(request.query().strip_prefix("store=").unwrap_or("default"))?;
    let key = request.path().trim_start_matches('/');
    let answer = match *request.method() {
        Method::Put => {
            store.set(key, request.body())?;
            Response::new(204, ())
        }
        Method::Delete => {
            store.delete(key)?;
            Response::new(204, ())
        }
        Method::Options => Response::new(if store.exists(key)? { 200 } else { 404 }, ()),
        _ if key.is_empty() => Response::new(200, store.get_keys()?.join("\n")),
        _ => match store.get(key)? {
            Some(value) => Response::new(200, value),
            None => Response::new(404, ()),
        },
    };
    Ok(answer)
}
