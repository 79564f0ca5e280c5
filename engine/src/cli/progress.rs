//! How far a deploy is, in one line at a terminal that is gone at the end; without a terminal,
//! nothing. Owns no fds.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use api::deploys::{DeployPhase, DeployProgress};
use api::endpoints::GetDeploy;
use bytesize::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use uuid::Uuid;

use super::client::Node;

/// How often the line is drawn, and so what a deploy must last to be seen.
const DRAW_INTERVAL: Duration = Duration::from_millis(100);
/// How often the node is asked.
const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// Upload, compiler, trial, store, workers.
const STEPS: u64 = 5;
/// Of a step, for the bar.
const PARTS: u64 = 4;

/// What is sent, and how much of it has left.
pub(super) struct Upload {
    pub(super) bytes: usize,
    pub(super) sent: Arc<AtomicUsize>,
}

/// The phase that the node reported last, and when it began.
struct Report {
    phase: DeployPhase,
    began: Instant,
}

impl Report {
    /// A report that has just come.
    fn now(DeployProgress { phase, seconds }: DeployProgress) -> Self {
        let age = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Self { phase, began: Instant::now().checked_sub(age).unwrap_or_else(Instant::now) }
    }
}

/// Waits for `deploying`, and shows meanwhile how far it is, if it is `wanted` and there is a
/// terminal.
pub(super) async fn shown<T>(
    node: &Node,
    id: &Uuid,
    upload: &Upload,
    wanted: bool,
    deploying: impl Future<Output = T>,
) -> T {
    // It is hidden where there is no terminal, or a dumb one; it has no colours.
    let target = if wanted { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let line = ProgressBar::with_draw_target(Some(STEPS * PARTS), target);
    if line.is_hidden() {
        return deploying.await;
    }
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:20}] {wide_msg}") {
        line.set_style(style.progress_chars("=> ").tick_chars("|/-\\ "));
    }
    let report = RefCell::new(None);
    let id = id.to_string();
    let asking = async {
        loop {
            tokio::time::sleep(ASK_INTERVAL).await;
            if upload.sent.load(Relaxed) < upload.bytes {
                continue;
            }
            // A node of an earlier build does not know; nor does one that has just ended it.
            if let Ok(answer) = node.call(GetDeploy::at(&id)).await {
                report.replace(answer.read().ok().map(Report::now));
            }
        }
    };
    let began = Instant::now();
    let drawing = async {
        loop {
            tokio::time::sleep(DRAW_INTERVAL).await;
            let (position, message) =
                describe(upload, report.borrow().as_ref(), began, Instant::now());
            line.set_message(message);
            line.set_position(position);
            line.tick();
        }
    };
    let deployed = tokio::select! {
        biased;
        deployed = deploying => deployed,
        never = drawing => never,
        never = asking => never,
    };
    line.finish_and_clear();
    deployed
}

/// Where the bar is, and what stands behind it.
fn describe(
    upload: &Upload,
    report: Option<&Report>,
    began: Instant,
    now: Instant,
) -> (u64, String) {
    let sent = upload.sent.load(Relaxed);
    let size = |bytes: usize| ByteSize(bytes as u64).display().iec();
    if sent < upload.bytes {
        let part = sent as u64 * PARTS / upload.bytes as u64;
        return (part, format!("uploading, {} of {}", size(sent), size(upload.bytes)));
    }
    let since = |began| Seconds(now.saturating_duration_since(began));
    let Some(Report { phase, began }) = report else {
        return (PARTS, format!("uploaded, the node is at it, {}", since(began)));
    };
    let (step, what) = match phase {
        DeployPhase::Receiving | DeployPhase::Other => (1, "the node is at it".to_owned()),
        DeployPhase::WaitingForCompiler { ahead } => {
            (1, format!("waiting for a compiler, {ahead} before it"))
        }
        DeployPhase::Compiling => (1, "compiling".to_owned()),
        DeployPhase::WaitingForTrial => (2, "waiting for another deploy's trial".to_owned()),
        DeployPhase::Trying => (2, "trying it".to_owned()),
        DeployPhase::Storing => (3, "storing it".to_owned()),
        DeployPhase::Publishing { workers } => (
            4,
            format!("publishing it to {workers} worker{}", if *workers == 1 { "" } else { "s" }),
        ),
    };
    (step * PARTS, format!("{what}, {}", since(*began)))
}

/// Whole seconds that have passed.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} s", self.0.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(sent: usize, report: Option<serde_json::Value>) -> (u64, String) {
        let upload = Upload { bytes: 4 << 20, sent: Arc::new(sent.into()) };
        let began = Instant::now();
        let read = |report| serde_json::from_value::<DeployProgress>(report).unwrap();
        let report = report.map(|report| Report { phase: read(report).phase, began });
        describe(&upload, report.as_ref(), began, began + Duration::from_millis(12_900))
    }

    #[test]
    fn each_phase_has_its_line() {
        assert_eq!(line(2 << 20, None), (2, "uploading, 2.0 MiB of 4.0 MiB".to_owned()));
        let sent = |report| line(4 << 20, report);
        // A node of an earlier build does not say.
        assert_eq!(sent(None), (4, "uploaded, the node is at it, 12 s".to_owned()));
        for (report, position, said) in [
            (json!({ "phase": "receiving", "seconds": 1 }), 4, "the node is at it, 12 s"),
            (json!({ "phase": "of a later build", "more": {} }), 4, "the node is at it, 12 s"),
            (
                json!({ "phase": "waiting-for-compiler", "ahead": 2 }),
                4,
                "waiting for a compiler, 2 before it, 12 s",
            ),
            (json!({ "phase": "compiling", "seconds": 12.9 }), 4, "compiling, 12 s"),
            (
                json!({ "phase": "waiting-for-trial" }),
                8,
                "waiting for another deploy's trial, 12 s",
            ),
            (json!({ "phase": "trying" }), 8, "trying it, 12 s"),
            (json!({ "phase": "storing" }), 12, "storing it, 12 s"),
            (json!({ "phase": "publishing", "workers": 1 }), 16, "publishing it to 1 worker, 12 s"),
            (
                json!({ "phase": "publishing", "workers": 2 }),
                16,
                "publishing it to 2 workers, 12 s",
            ),
        ] {
            assert_eq!(sent(Some(report)), (position, said.to_owned()));
        }
    }
}
