//! Adding and removing schedules, and what there are. Owns no fds.

use std::sync::Arc;

use abi::choice::ACTIVE;
use api::cron::{Checked, CronOptions, CronSource, ListedCron};
use host::clock;
use schedule::{Schedule, Timing};
use store::contents::{Contents, Function};
use store::domains::Target;
use store::error::StoreError;
use store::schedules::{RingingNode, Schedules, Source, StoredSchedule};

use super::changes::Changes;
use super::error::ChangeError;

/// Changes schedules.
#[derive(Debug)]
pub struct ScheduleChanges {
    pub(super) changes: Changes,
    pub(super) schedules: Arc<Schedules>,
}

impl ScheduleChanges {
    /// Returns what the store has of schedules.
    pub(crate) fn stored(&self) -> &Arc<Schedules> {
        &self.schedules
    }

    /// Has a function be rung by a schedule. If it is so already, only its policies change.
    ///
    /// # Errors
    /// When the schedule or its target cannot be so, or the store does not answer.
    pub(crate) async fn add(
        &self,
        name: &str,
        options: CronOptions,
    ) -> Result<ListedCron, ChangeError> {
        let schedule = stored(name, options, Source::Command)?;
        let Changes { gate, stored, publication } = &self.changes;
        let _turn = gate.enter().await?;
        expect(&schedule.target, &*self.changes.function(name).await?)?;
        let (id, schedule) = self.schedules.add(schedule).await?;
        stored.repository.note_change().await;
        tracing::info!("the schedule {id} rings {}: {}", schedule.target, schedule.schedule);
        Ok(listed(&id, &schedule, &publication.served()))
    }

    /// Has the schedules of a function that its project has be these. Returns them.
    ///
    /// # Errors
    /// The same. What was done already stays done.
    pub(crate) async fn set_project(
        &self,
        name: &str,
        wanted: Vec<CronOptions>,
    ) -> Result<Vec<ListedCron>, ChangeError> {
        let of_project = |options| stored(name, options, Source::Project);
        let wanted: Vec<StoredSchedule> =
            wanted.into_iter().map(of_project).collect::<Result<_, _>>()?;
        let Changes { gate, stored, publication } = &self.changes;
        let _turn = gate.enter().await?;
        let function = self.changes.function(name).await?;
        wanted.iter().try_for_each(|schedule| expect(&schedule.target, &function))?;
        let (there, gone) = self.schedules.set_project(name, wanted).await?;
        stored.repository.note_change().await;
        let served = publication.served();
        for (id, schedule) in &there {
            tracing::info!("the schedule {id} rings {}: {}", schedule.target, schedule.schedule);
        }
        gone.iter().for_each(|id| tracing::info!("the schedule {id} is removed"));
        Ok(there.iter().map(|(id, schedule)| listed(id, schedule, &served)).collect())
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// When there is none, or the store does not answer.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), ChangeError> {
        let Changes { gate, stored, .. } = &self.changes;
        let _turn = gate.enter().await?;
        stored.repository.prepare().await?;
        let removed = self.schedules.remove(id).await?;
        stored.repository.note_change().await;
        let of = removed.map(|schedule| format!(", which rang {}", schedule.target));
        tracing::info!("the schedule {id} is removed{}", of.unwrap_or_default());
        Ok(())
    }

    /// Returns all schedules, by their ids.
    pub(crate) fn list(&self) -> Vec<ListedCron> {
        let served = self.changes.publication.served();
        let all = self.schedules.all();
        all.iter().map(|(id, schedule)| listed(id, schedule, &served)).collect()
    }

    /// Returns a schedule.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn find(&self, id: &str) -> Result<Arc<StoredSchedule>, ChangeError> {
        let found = self.schedules.all().get(id).cloned();
        found.ok_or_else(|| store::schedules::SchedulesError::Unknown(id.to_owned()).into())
    }

    /// Returns why a schedule rings nothing. Returns `None` if it does.
    pub(crate) fn is_in_vain(&self, schedule: &StoredSchedule) -> Option<ChangeError> {
        in_vain(schedule, &self.changes.publication.served())
    }

    /// Tells all nodes that `node` rings, and those that it is `news` for at once.
    ///
    /// # Errors
    /// When the store does not take it.
    pub(crate) async fn say_ringing(
        &self,
        node: &RingingNode,
        news: bool,
    ) -> Result<(), StoreError> {
        self.schedules.say_ringing(node).await?;
        if news {
            self.changes.stored.repository.note_change().await;
        }
        Ok(())
    }

    /// Tells all nodes that `node` does not ring any more. If it fails, they find out by themselves.
    pub(crate) async fn say_silent(&self, node: &RingingNode) {
        if self.schedules.say_silent(node).await.is_ok() {
            self.changes.stored.repository.note_change().await;
        }
    }

    /// Returns the hosts of the nodes that ring.
    pub(crate) fn ringing_hosts(&self) -> Vec<String> {
        self.schedules.ringing().iter().map(RingingNode::to_string).collect()
    }
}

/// Returns when a schedule is rung. Returns `None` if this build does not understand it.
pub(crate) fn timing(id: &str, stored: &StoredSchedule) -> Option<Timing> {
    let StoredSchedule { schedule, time_zone, missed, jitter_ms, created_ms, .. } = stored;
    let schedule = Schedule::read(schedule, time_zone.as_deref(), *created_ms).ok()?;
    Some(Timing::new(id, schedule, *missed, *jitter_ms, *created_ms))
}

/// Checks options, and returns them as they are kept.
fn stored(name: &str, options: CronOptions, source: Source) -> Result<StoredSchedule, ChangeError> {
    abi::name::check(name)?;
    let Checked { path, time_zone, jitter_ms } = options.check()?;
    let CronOptions { schedule, alias, overlap, missed, .. } = options;
    Ok(StoredSchedule {
        target: Target { function: name.to_owned(), alias },
        schedule: schedule.split_whitespace().collect::<Vec<_>>().join(" "),
        path,
        time_zone,
        overlap,
        missed,
        jitter_ms,
        source,
        created_ms: clock::unix_ms(),
    })
}

/// Checks that a function has what a schedule is to ring.
fn expect(target: &Target, function: &Function) -> Result<(), ChangeError> {
    let Target { function: name, alias } = target;
    if function.alias(alias.as_deref().unwrap_or(ACTIVE)).is_some() {
        return Ok(());
    }
    let name = name.clone();
    Err(match alias {
        Some(alias) => ChangeError::UnknownAlias { name, alias: alias.clone() },
        None => ChangeError::NotActive(name),
    })
}

fn in_vain(schedule: &StoredSchedule, served: &Contents) -> Option<ChangeError> {
    let target = &schedule.target;
    match served.get(&target.function) {
        Some(function) => expect(target, function).err(),
        None => Some(ChangeError::Unknown(target.function.clone())),
    }
}

/// Returns a schedule as the API answers it, with what is wrong with it by what is `served`.
fn listed(id: &str, schedule: &StoredSchedule, served: &Contents) -> ListedCron {
    let timing = timing(id, schedule);
    let not_understood = || "this build does not understand the schedule".to_owned();
    let error = match &timing {
        None => Some(not_understood()),
        Some(_) => in_vain(schedule, served).map(|error| error.to_string()),
    };
    let next_ms = timing.and_then(|timing| timing.next_ms(clock::unix_ms()));
    ListedCron {
        id: id.to_owned(),
        function: schedule.target.function.clone(),
        alias: schedule.target.alias.clone(),
        schedule: schedule.schedule.clone(),
        path: schedule.path.clone(),
        time_zone: schedule.time_zone.clone(),
        overlap: schedule.overlap,
        missed: schedule.missed,
        jitter_ms: schedule.jitter_ms,
        source: match schedule.source {
            Source::Command => CronSource::Command,
            Source::Project => CronSource::Project,
        },
        added_ms: schedule.created_ms,
        next_ms: next_ms.filter(|_| error.is_none()),
        running: 0,
        last: None,
        error,
    }
}
