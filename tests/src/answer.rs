//! Reads an answer from all the bytes of a connection. The sender is the node, or a server that it
//! is compared with: unlike [`Connection::reply`], nothing here checks what every reply of the node
//! must have.
//!
//! [`Connection::reply`]: crate::Connection::reply

/// More than any server under test sends.
const HEADERS_MAX: usize = 2048;

/// The answer to one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status code. `None` if the head is not complete.
    pub status: Option<u16>,
    /// The status codes of the interim responses before it, such as `100 Continue`.
    pub interim: Vec<u16>,
    /// The headers in their order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its chunked coding, as far as it was received.
    pub body: Vec<u8>,
    /// The trailers after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// Whether a client can know that the answer is complete.
    pub whole: bool,
    /// The bytes after the end of the answer.
    pub behind: Vec<u8>,
}

impl Answer {
    /// Reads the answer to a request with this method.
    #[track_caller]
    pub fn read(method: &str, mut bytes: &[u8]) -> Self {
        let mut answer = Self::default();
        loop {
            let mut headers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut parsed = httparse::Response::new(&mut headers);
            let end = match parsed.parse(bytes) {
                Ok(httparse::Status::Complete(end)) => end,
                Ok(httparse::Status::Partial) => return Self { behind: bytes.to_vec(), ..answer },
                Err(e) => panic!("no HTTP ({e}): {}", String::from_utf8_lossy(bytes)),
            };
            let status = parsed.code.expect("complete");
            bytes = &bytes[end..];
            if status / 100 == 1 {
                answer.interim.push(status);
                continue;
            }
            answer.status = Some(status);
            answer.headers = texts(parsed.headers);
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            answer.read_body(bodiless, bytes);
            return answer;
        }
    }

    /// Returns the values of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read_body(&mut self, bodiless: bool, bytes: &[u8]) {
        let length =
            self.all("content-length").next().map(|length| length.parse().expect("a length"));
        if bodiless {
            (self.whole, self.behind) = (true, bytes.to_vec());
        } else if self.all("transfer-encoding").any(|coding| coding == "chunked") {
            assert_eq!(length, None, "framed in two ways: {:#?}", self.headers);
            self.behind = self.read_chunks(bytes).to_vec();
        } else {
            // Without either, the end of the connection is the end of the body, and a body that was
            // cut looks the same.
            let taken = length.unwrap_or(bytes.len()).min(bytes.len());
            self.whole = length.is_none_or(|length| length == taken);
            (self.body, self.behind) = (bytes[..taken].to_vec(), bytes[taken..].to_vec());
        }
    }

    /// Reads the chunks and the trailers, and returns the bytes after them.
    fn read_chunks<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        loop {
            let (end, size) = match httparse::parse_chunk_size(bytes) {
                Ok(httparse::Status::Complete((end, size))) => {
                    (end, usize::try_from(size).expect("a size"))
                }
                Ok(httparse::Status::Partial) => return &[],
                Err(_) => panic!("no chunk size: {:?}", String::from_utf8_lossy(bytes)),
            };
            bytes = &bytes[end..];
            if size == 0 {
                let mut trailers = vec![httparse::EMPTY_HEADER; HEADERS_MAX];
                let Ok(httparse::Status::Complete((end, trailers))) =
                    httparse::parse_headers(bytes, &mut trailers)
                else {
                    return &[];
                };
                (self.trailers, self.whole) = (texts(trailers), true);
                return &bytes[end..];
            }
            self.body.extend_from_slice(&bytes[..size.min(bytes.len())]);
            match bytes.get(size..size + 2) {
                Some(b"\r\n") => bytes = &bytes[size + 2..],
                Some(other) => panic!("{other:?} behind a chunk"),
                None => return &[],
            }
        }
    }
}

fn texts(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    headers.iter().map(text).collect()
}
