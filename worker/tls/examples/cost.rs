//! What TLS connections cost the thread that ends them: CPU time a handshake and a request, and
//! memory of an idle one. Run it in the release profile.
//!
//! Started again with an argument, it is the process that is measured: its main thread ends TLS, a
//! second one answers. The first process is the clients.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that fails is none")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::certificates::{Certificate, Certificates, TicketKey};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tls::{Configs, Connections, Plaintext, Stream, Timeouts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

const IDLE: usize = 2000;
const HANDSHAKES: usize = 1000;
const REQUESTS: usize = 50_000;
const PIPES: usize = 16;
const REQUEST: &[u8] = b"GET /hello/ HTTP/1.1\r\nhost: localhost\r\n\r\n";
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nhello\n";

type Client = StreamOwned<ClientConnection, TcpStream>;

fn main() {
    if std::env::args().len() > 1 {
        return edge();
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("edge")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address: SocketAddr = lines.next().unwrap().unwrap().parse().unwrap();
    let pem: String = lines
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty())
        .fold(String::new(), |pem, line| pem + &line + "\n");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let config = || {
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into());
        let config = config.with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots.clone()).with_no_client_auth())
    };
    let full = config();

    // A first one, so that what is made once is made.
    request(&mut connect(address, &full));
    measure(&child, "full handshake, request and close", HANDSHAKES, || {
        for _ in 0..HANDSHAKES {
            request(&mut connect(address, &config()));
        }
    });
    measure(&child, "resumed handshake, request and close", HANDSHAKES, || {
        for _ in 0..HANDSHAKES {
            request(&mut connect(address, &full));
        }
    });
    let mut clients: Vec<Client> = (0..PIPES).map(|_| connect(address, &full)).collect();
    clients.iter_mut().for_each(request);
    measure(&child, "request, one at a time", REQUESTS, || {
        for number in 0..REQUESTS {
            request(&mut clients[number % PIPES]);
        }
    });
    measure(&child, "request, 16 at a time", REQUESTS, || {
        for _ in 0..REQUESTS / PIPES {
            clients.iter_mut().for_each(|client| client.write_all(REQUEST).unwrap());
            clients.iter_mut().for_each(|client| client.read_exact(&mut [0; REPLY.len()]).unwrap());
        }
    });
    let before = resident_bytes(&child);
    let connected = |_| {
        let mut client = connect(address, &full);
        request(&mut client);
        client
    };
    let idle: Vec<Client> = (0..IDLE).map(connected).collect();
    let bytes = (resident_bytes(&child) - before) / IDLE;
    println!("{bytes} bytes of memory for each of {IDLE} idle connections");
    drop(idle);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), socket)
}

fn request(client: &mut Client) {
    client.write_all(REQUEST).unwrap();
    client.read_exact(&mut [0; REPLY.len()]).unwrap();
}

/// Runs `work`, and prints the CPU time that the measured thread had for each of its `count` parts.
fn measure(child: &Child, what: &str, count: usize, work: impl FnOnce()) {
    let (before, start) = (cpu_time(child), Instant::now());
    work();
    let (cpu, wall) = (cpu_time(child) - before, start.elapsed());
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{what}: {:.1} us CPU, {:.1} us in all", each(cpu), each(wall));
}

fn cpu_time(child: &Child) -> Duration {
    let pid = child.id();
    let times = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/schedstat")).unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

fn resident_bytes(child: &Child) -> usize {
    let sizes = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).unwrap();
    sizes.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// The process that is measured.
fn edge() {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned()];
    let made = rcgen::CertificateParams::new(names.clone()).unwrap().self_signed(&key).unwrap();
    let chain = vec![made.der().to_vec()];
    let certificates = Certificates {
        default: Some(Certificate { names, chain, key: key.serialize_der() }),
        ticket_keys: vec![TicketKey { name: [1; 16], key: [1; 32] }],
        ..Certificates::default()
    };
    let timeouts = Timeouts { first_byte: Duration::from_secs(60), write: Duration::from_secs(60) };
    let connections = Connections::new(Configs::new(&certificates).0, timeouts);
    let (sender, ends) = mpsc::unbounded_channel();
    std::thread::spawn(|| on_this_thread(answer(ends)));
    on_this_thread(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}\n{}", listener.local_addr().unwrap(), made.pem());
        loop {
            let (accepted, _) = listener.accept().await.unwrap();
            accepted.set_nodelay(true).unwrap();
            let answers = Answers(sender.clone());
            connections.take(accepted.into_std().unwrap(), Vec::new(), answers, ()).unwrap();
        }
    });
}

/// Gives what is inside of TLS to whoever answers.
struct Answers(mpsc::UnboundedSender<OwnedFd>);

impl Plaintext for Answers {
    fn hand_over(self, end: OwnedFd) {
        self.0.send(end).expect("the other thread is there");
    }

    async fn serve(self, _: &mut Stream<'_>) {}
}

fn on_this_thread(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, work);
}

async fn answer(mut ends: mpsc::UnboundedReceiver<OwnedFd>) {
    while let Some(end) = ends.recv().await {
        let mut end = UnixStream::from_std(end.into()).unwrap();
        tokio::task::spawn_local(async move {
            while end.read_exact(&mut [0; REQUEST.len()]).await.is_ok() {
                if end.write_all(REPLY).await.is_err() {
                    break;
                }
            }
        });
    }
}
