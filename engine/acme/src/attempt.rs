//! One attempt to get a certificate for a name, from the lease to the record of what came of it.
//! Owns no fds but the client's.

use std::time::Duration;

use host::clock;
use tokio::time::timeout;

use crate::account;
use crate::certificate::Certificate;
use crate::error::AcmeError;
use crate::lease::Lease;
use crate::order::Order;
use crate::outcome::{self, Blame, Failure, Records};
use crate::place::Place;
use crate::plan::{self, Validity, World};
use crate::record::Attempts;
use crate::shelf::{Content, View};
use crate::work::Work;

/// How long an order may take in all; a lease is longer.
const ORDER_TIMEOUT: Duration = Duration::from_secs(8 * 60);

/// What came of an attempt.
#[derive(Debug)]
pub(crate) enum Done {
    Ordered,
    /// Another node orders.
    Busy,
    /// Another node has ordered meanwhile, or has failed to.
    NotDue,
    Failed(AcmeError, Blame),
}

/// Orders a certificate for `name`, if that is still due by what stands in the store. The view
/// then has what was written.
pub(crate) async fn attempt(work: &Work, view: &mut View, name: &str) -> Done {
    // What is wrong with this node alone is found before anything is written that others go by.
    let of_node = |error| Done::Failed(error, Blame::Node);
    if work.settings.possible.preferred().is_none() {
        return of_node(AcmeError::NoListener { name: name.to_owned() });
    }
    if let Err(error) = account::find(&work.shelf).await {
        return of_node(error);
    }
    let of = (&*work.shelf.ca, name, &*work.node);
    match Lease::take(&work.shelf.objects, of, work.policy.settle).await {
        Ok(Some(lease)) => {
            let done = attempt_alone(work, view, name).await;
            lease.end().await;
            done.unwrap_or_else(of_node)
        }
        Ok(None) => Done::Busy,
        Err(error) => of_node(error.into()),
    }
}

/// # Errors
/// When nothing has been asked of the CA.
async fn attempt_alone(work: &Work, view: &mut View, name: &str) -> Result<Done, AcmeError> {
    let shelf = &work.shelf;
    *view = shelf.view(view).await?;
    let (attempts, authority) = view.attempts(&shelf.ca);
    let (held, wanted) = (view.held(&shelf.ca), [name.to_owned()].into());
    let world = World {
        wanted: &wanted,
        held: &held,
        attempts: &attempts,
        authority: &authority,
        seed: work.seed,
    };
    let now_ms = clock::unix_ms();
    if plan::due_ms(world, name, now_ms) > now_ms {
        return Ok(Done::NotDue);
    }
    let held = held.get(name).copied();
    let before = attempts.get(name).cloned().unwrap_or_default();
    let spread = plan::spread(work.seed, name);
    let challenge = before.next_challenge(work.settings.possible);
    let begun = plan::begin(before.clone(), work.policy, spread, held, now_ms);
    let begun = Attempts { challenge, challenge_failed: false, ..begun };
    let keys = [Place::Attempts { ca: &shelf.ca, name }, Place::Authority { ca: &shelf.ca }];
    let [of_name, of_authority] = keys.map(Place::key);
    let charged = plan::charge_account(authority, now_ms);
    // Before the CA is asked for anything: a crash loop must not spend what it allows.
    write(work, view, &of_name, &begun).await?;
    write(work, view, &of_authority, &charged).await?;
    // What an earlier refusal said is no concern of this one.
    let _ = work.client.take_retry_after();

    let mut order = Order::new(work, name, begun, held);
    let ordered = match timeout(ORDER_TIMEOUT, order.run()).await {
        Ok(ordered) => ordered,
        Err(_) => Err(AcmeError::Slow {
            directory: work.client.directory().to_owned(),
            name: name.to_owned(),
            seconds: ORDER_TIMEOUT.as_secs(),
        }),
    };
    order.remove_answers().await;
    let (record, asked) = (order.record, order.asked);
    let kept = match ordered {
        Ok(certificate) => keep(work, view, name, certificate).await,
        Err(error) => Err(error),
    };
    let now_ms = clock::unix_ms();
    match kept {
        Ok(validity) => {
            let succeeded = plan::succeeded(record, validity, now_ms);
            write_outcome(work, view, &of_name, succeeded).await;
            if charged.failures > 0 {
                let well = Attempts { failures: 0, not_before_ms: 0, error: None, ..charged };
                write_outcome(work, view, &of_authority, well).await;
            }
            Ok(Done::Ordered)
        }
        Err(error) => {
            let blame = outcome::blame(&error, asked);
            let wait = work.client.take_retry_after();
            let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            let failure = Failure { error: &error, blame, wait_ms };
            let records = Records { before, name: record, authority: charged.clone() };
            let (of_this, of_all) =
                outcome::after(records, failure, work.policy, (spread, held), now_ms);
            write_outcome(work, view, &of_name, of_this).await;
            if of_all != charged {
                write_outcome(work, view, &of_authority, of_all).await;
            }
            Ok(Done::Failed(error, blame))
        }
    }
}

async fn keep(
    work: &Work,
    view: &mut View,
    name: &str,
    certificate: Certificate,
) -> Result<Validity, AcmeError> {
    let validity = certificate.validity;
    let (key, content) = work.shelf.put_certificate(name, certificate).await?;
    view.put(key, content);
    Ok(validity)
}

async fn write(
    work: &Work,
    view: &mut View,
    key: &str,
    record: &Attempts,
) -> Result<(), AcmeError> {
    work.shelf.put_record(key, record).await?;
    view.put(key.to_owned(), Content::Attempts(record.clone()));
    Ok(())
}

/// Writes what came of an attempt. If that fails, the record of its beginning stays, which says
/// that it failed.
async fn write_outcome(work: &Work, view: &mut View, key: &str, record: Attempts) {
    if let Err(error) = write(work, view, key, &record).await {
        tracing::warn!("what came of an attempt is not recorded: {error}");
        // This node goes by it all the same.
        view.put(key.to_owned(), Content::Attempts(record));
    }
}
