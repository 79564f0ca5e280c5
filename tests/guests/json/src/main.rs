//! What an API does all day: parses a JSON body, works on it, prints it.
//!
//! Takes `{"orders": [{"id": 1, "customer": "..", "items": [{"sku": "..", "quantity": 2, "cents":
//! 350}]}]}`. The node must reply 200 with the same orders, the customers' names in capitals and a
//! `total_cents` behind each order's items; 400 with the reason when the body is no such thing.

use serde::{Deserialize, Serialize};
use wstd::http::{Body, Error, Request, Response, StatusCode};

#[derive(Deserialize, Serialize)]
struct Orders {
    orders: Vec<Order>,
}

#[derive(Deserialize, Serialize)]
struct Order {
    id: u64,
    customer: String,
    items: Vec<Item>,
    #[serde(default)]
    total_cents: u64,
}

#[derive(Deserialize, Serialize)]
struct Item {
    sku: String,
    quantity: u64,
    cents: u64,
}

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>, Error> {
    let bytes = request.body_mut().contents().await?;
    let mut orders: Orders = match serde_json::from_slice(bytes) {
        Ok(orders) => orders,
        Err(error) => {
            let reply = Response::builder().status(StatusCode::BAD_REQUEST);
            return Ok(reply.body(format!("no orders: {error}\n").into())?);
        }
    };
    for order in &mut orders.orders {
        order.customer = order.customer.to_uppercase();
        order.total_cents =
            order.items.iter().map(|item| item.quantity.saturating_mul(item.cents)).sum();
    }
    let body = serde_json::to_vec(&orders)?;
    Ok(Response::builder().header("content-type", "application/json").body(body.into())?)
}
