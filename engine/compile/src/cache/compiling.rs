//! How the cache has a module compiled: in its turn, with its share of memory, and with a record of
//! failures. Owns no fds.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use abi::function::Kind;
use abi::limits::MODULE_BYTES_MAX;
use abi::message::Digest;

use super::{Cache, CacheError};
use crate::child::{self, CompileError, Processor};
use crate::memory::Size;
use crate::queue::{Purpose, Step};
use host::files::{self, Temporary, TemporaryFolder};

/// Where the artefact to compile is.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Store(&'a Digest),
    File(&'a Path, Size),
}

impl Cache {
    /// Compiles a module, unless it is there, when its turn in the queue comes.
    pub(super) async fn compile(
        &self,
        key: &Digest,
        kind: Kind,
        source: Source<'_>,
        purpose: Purpose,
        report: &(dyn Fn(Step) + Sync),
    ) -> Result<(), CacheError> {
        let asked = Instant::now();
        let failed =
            || self.queue.failure(key, purpose, asked, Instant::now()).map(CacheError::Failed);
        if self.has(key) {
            return Ok(());
        }
        if let Some(error) = failed() {
            return Err(error);
        }
        let ticket = self.queue.ticket();
        report(Step::Waiting { number: ticket.number });
        let _turn = self.queue.turn(key).await;
        let _place = self.queue.place(purpose).await;
        // The one who had the turn before may have compiled it.
        if self.has(key) {
            return Ok(());
        }
        if let Some(error) = failed() {
            return Err(error);
        }
        let made = async {
            let (path, size) = match source {
                Source::File(path, size) => (path.to_owned(), Some(size)),
                Source::Store(artefact) => {
                    (self.artefacts.local(&files::hex(artefact)).await?, None)
                }
            };
            self.run_compiler(key, kind, (&path, size), (purpose, report)).await
        };
        let made = made.await;
        match &made {
            Ok(()) => self.queue.compiled(key),
            Err(error) => {
                self.queue.failed(key, error.to_string(), error.is_the_files(), Instant::now())
            }
        }
        made
    }

    /// Compiles an artefact for other machines of this architecture. Nothing of it is kept.
    ///
    /// # Errors
    /// [`CacheError`] when it does not compile, or there is no such artefact.
    pub async fn portable(&self, artefact: &Digest, kind: Kind) -> Result<Vec<u8>, CacheError> {
        let purpose = Purpose::Deploy;
        let _place = self.queue.place(purpose).await;
        let path = self.modules.folder();
        let source = self.artefacts.local(&files::hex(artefact)).await?;
        let (code, from) = ((kind, Processor::Portable), (&*source, None));
        let compiled = self.compile_module(path, code, from, (purpose, &|_| {})).await?;
        let failed = |source| CacheError::Module { what: "read", path: path.to_owned(), source };
        let read = tokio::fs::read(compiled.path()).await.map_err(failed)?;
        if read.len() as u64 > MODULE_BYTES_MAX {
            return Err(CacheError::TooLarge { bytes: read.len() as u64 });
        }
        Ok(read)
    }

    async fn run_compiler(
        &self,
        key: &Digest,
        kind: Kind,
        (source, size): (&Path, Option<Size>),
        (purpose, report): (Purpose, &(dyn Fn(Step) + Sync)),
    ) -> Result<(), CacheError> {
        let path = self.modules.path(key);
        let failed = |what| {
            let path = path.clone();
            move |source| CacheError::Module { what, path, source }
        };
        if kind.is_native() {
            let size = Size::of_nothing();
            let share = self.budget.share(size, purpose).await.map_err(CompileError::from)?;
            let folder = TemporaryFolder::new(self.modules.folder()).map_err(failed("written"))?;
            report(Step::Compiling);
            let code = (kind, Processor::Host);
            child::compile(code, source, folder.path(), &share.plan, None).await?;
            return self.modules.put_folder(key, folder).map_err(failed("written"));
        }
        if kind == Kind::Static {
            let share = self.budget.share(Size::of_nothing(), purpose).await;
            let share = share.map_err(CompileError::from)?;
            let made = Temporary::new(self.modules.folder()).map_err(failed("written"))?;
            report(Step::Compiling);
            let code = (kind, Processor::Host);
            child::compile(code, source, made.path(), &share.plan, None).await?;
            return self.modules.put_site(key, made).map_err(failed("written"));
        }
        let (code, from) = ((kind, Processor::Host), (source, size));
        let temporary = self.compile_module(&path, code, from, (purpose, report)).await?;
        // The module may be large: it is hashed and synced on a thread that nobody waits for. Once
        // begun that comes to its end, even if the caller has gone.
        let (modules, key) = (Arc::clone(&self.modules), *key);
        let kept = tokio::task::spawn_blocking(move || {
            let failed = |what| {
                let path = modules.path(&key);
                move |source| CacheError::Module { what, path, source }
            };
            let (digest, bytes) = files::digest_of(temporary.path()).map_err(failed("read"))?;
            if bytes > MODULE_BYTES_MAX {
                return Err(CacheError::TooLarge { bytes });
            }
            modules.put(&key, digest, bytes, temporary).map_err(failed("written"))
        });
        kept.await.unwrap_or_else(|error| {
            Err(CacheError::Module { what: "written", path, source: io::Error::other(error) })
        })
    }

    /// Compiles a file to a temporary one, within its share of memory. `path` is what an error
    /// names.
    async fn compile_module(
        &self,
        path: &Path,
        code: (Kind, Processor),
        (source, size): (&Path, Option<Size>),
        (purpose, report): (Purpose, &(dyn Fn(Step) + Sync)),
    ) -> Result<Temporary, CacheError> {
        let failed = |what| {
            let path = path.to_owned();
            move |source| CacheError::Module { what, path, source }
        };
        let size = match size {
            Some(size) => size,
            None => Size::of_file(source)
                .await
                .map_err(failed("made, as what it is made of cannot be read"))?,
        };
        // The compiler's share of memory counts as taken until the compiler has ended.
        let share = self.budget.share(size, purpose).await.map_err(CompileError::from)?;
        let temporary = Temporary::new(self.modules.folder()).map_err(failed("written"))?;
        report(Step::Compiling);
        self.compilations.fetch_add(1, Relaxed);
        let compatibility = self.compatibility.get(&code.0).filter(|_| code.1 == Processor::Host);
        let lent = compatibility.and_then(|bytes| self.shelf.lend(bytes));
        let plan = &share.plan;
        let reused = child::compile(code, source, temporary.path(), plan, lent.as_ref()).await?;
        tracing::debug!(found = reused.found, compiled = reused.compiled, "compiled {source:?}");
        if let Some(lent) = lent {
            let shelf = Arc::clone(&self.shelf);
            // Nobody waits for it.
            tokio::task::spawn_blocking(move || shelf.take_back(lent, &reused));
        }
        Ok(temporary)
    }
}
