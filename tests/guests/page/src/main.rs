//! What a web site does all day: fills a template. The page is about 50 KiB of HTML, and always the
//! same.
//!
//! The node must reply 200 with `content-type: text/html; charset=utf-8` and the whole page, to any
//! method and path.

use minijinja::{Environment, context};
use serde::Serialize;
use wstd::http::{Body, Error, Request, Response};

const TEMPLATE: &str = include_str!("page.html");
const ROWS: u32 = 400;

#[derive(Serialize)]
struct Row {
    number: u32,
    name: String,
    price: String,
    stock: u32,
}

fn rows() -> Vec<Row> {
    (1..=ROWS)
        .map(|number| Row {
            number,
            // Something to escape in every row.
            name: format!("Nuts & bolts <M{}>", number % 20 + 2),
            price: format!("{}.{:02}", number * 7 % 90 + 1, number * 13 % 100),
            stock: number * 31 % 500,
        })
        .collect()
}

#[wstd::http_server]
async fn main(_request: Request<Body>) -> Result<Response<Body>, Error> {
    let mut environment = Environment::new();
    environment.add_template("page.html", TEMPLATE)?;
    let page = environment
        .get_template("page.html")?
        .render(context! { title => "Hardware", rows => rows() })?;
    Ok(Response::builder().header("content-type", "text/html; charset=utf-8").body(page.into())?)
}
