//! Every error that a change can end with, and the status that its client gets.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use abi::domain::{Domain, DomainError};
use abi::name::NameError;
use abi::reference::AliasNameError;
use api::options::OptionsError;
use compile::cache::CacheError;
use compile::child::CompileError;
use compile::inspect::InspectError;
use fleet::core::fleet::PublishError;
use fleet::workers::supervise::TrialError;
use secrets::{KeyError, RuleError, SecretError};
use store::alias::AliasError;
use store::contents::VersionError;
use store::domains::DomainsError;
use store::error::StoreError;
use store::retention::RetentionError;

use super::*;
use crate::call::CallError;

fn text() -> String {
    "x".to_owned()
}

fn io(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

/// Checks the status of each error, and that only those of `soon` have `Retry-After`.
fn check<E: Display>(fault: impl Fn(&E) -> Fault, errors: Vec<(u16, E)>, soon: &[&str]) {
    for (expected, error) in errors {
        let (fault, said) = (fault(&error), error.to_string());
        let answer = Failed::new(fault, error).into_response();
        assert_eq!(answer.status(), expected, "{said}");
        let is_soon = soon.iter().any(|soon| said.contains(soon));
        assert_eq!(answer.headers().contains_key(RETRY_AFTER), is_soon, "{said}");
    }
}

fn store_errors() -> Vec<(u16, StoreError)> {
    let at = |kind| {
        let (path, source) = (PathBuf::new(), io(kind));
        StoreError::Io { what: "write", path, source, hint: "" }
    };
    let (name, key, reason, endpoint) = (text(), text(), text(), text());
    vec![
        (500, at(io::ErrorKind::PermissionDenied)),
        (507, at(io::ErrorKind::StorageFull)),
        (507, at(io::ErrorKind::QuotaExceeded)),
        (500, StoreError::Format { name: text(), found: text(), readable: text() }),
        (500, StoreError::Unfit { key: text(), reason: text() }),
        (500, StoreError::Outside { key: text() }),
        (409, StoreError::TooLargeToKeep { name: text(), bytes_max: 1 }),
        (500, StoreError::Missing { key: text() }),
        (500, StoreError::Damaged { key, reason: text() }),
        (503, StoreError::Away { name, endpoint, reason }),
        (503, StoreError::Gone { name: text(), reason: "x", path: PathBuf::new() }),
        (500, StoreError::Occupied { name: text(), found: text() }),
        (500, StoreError::Refused { name: text(), endpoint: text(), reason: text(), hint: text() }),
        (500, StoreError::Foreign { name: text(), endpoint: text(), reason: text() }),
        (500, StoreError::Ended { reason: text() }),
    ]
}

#[test]
fn errors_of_the_store() {
    check(StoreError::fault, store_errors(), &[]);
    check(ChangeError::fault, changes(store_errors(), ChangeError::Store), &[]);
    check(CacheError::fault, changes(store_errors(), CacheError::Artefact), &[]);
    check(SecretError::fault, changes(store_errors(), SecretError::Store), &[]);
    check(
        VersionError::fault,
        vec![
            (404, VersionError::Unknown { name: text(), reference: text() }),
            (
                409,
                VersionError::Ambiguous {
                    name: text(),
                    reference: text(),
                    one: text(),
                    other: text(),
                },
            ),
        ],
        &[],
    );
    let mut retention = changes(store_errors(), RetentionError::Store);
    retention.extend([
        (503, RetentionError::NotYet(text())),
        (500, RetentionError::NotListed { store: text(), key: text() }),
        (503, RetentionError::TakenOver),
    ]);
    check(RetentionError::fault, retention, &["another engine has taken over"]);
}

#[test]
fn errors_of_domains() {
    let domain = || Domain::read("a.example").unwrap();
    let mut domains = changes(store_errors(), DomainsError::Store);
    domains.extend([
        (409, DomainsError::Taken { domain: domain(), there: text(), wanted: text() }),
        (409, DomainsError::Unfit { domain: domain() }),
        (404, DomainsError::Unknown(domain())),
        (409, DomainsError::TooMany),
    ]);
    check(ChangeError::fault, changes(domains, ChangeError::Domains), &[]);
}

/// The same errors as what they become.
fn changes<A, B>(errors: Vec<(u16, A)>, into: impl Fn(A) -> B) -> Vec<(u16, B)> {
    errors.into_iter().map(|(status, error)| (status, into(error))).collect()
}

fn compile_errors() -> Vec<(u16, CompileError)> {
    vec![
        (422, CompileError::Refused(text())),
        (422, CompileError::Failed(text())),
        (422, CompileError::TooSlow),
        (422, CompileError::TooMuchTime),
        (422, CompileError::Ended { status: std::process::ExitStatus::default(), said: text() }),
        (500, CompileError::Start(io(io::ErrorKind::WouldBlock))),
        (500, CompileError::Settings(text())),
    ]
}

#[test]
fn errors_of_the_compiler() {
    check(CompileError::fault, compile_errors(), &[]);
    let module = |kind| CacheError::Module { what: "read", path: PathBuf::new(), source: io(kind) };
    let folder = CacheError::Folder { path: PathBuf::new(), source: io(io::ErrorKind::NotFound) };
    let mut cache = changes(compile_errors(), CacheError::Compile);
    cache.extend([
        (500, folder),
        (500, module(io::ErrorKind::NotFound)),
        (507, module(io::ErrorKind::StorageFull)),
        (422, CacheError::TooLarge { bytes: 1 }),
        (422, CacheError::Failed(text())),
        (500, CacheError::Unknown),
        (404, CacheError::Unnamed),
    ]);
    check(CacheError::fault, cache, &[]);
    let inspect = vec![
        (422, InspectError::Empty),
        (422, InspectError::NotWasm { begins: text() }),
        (422, InspectError::Damaged(text())),
        (422, InspectError::OtherWorld { exports: text() }),
        (422, InspectError::OtherVersion { export: text() }),
        (422, InspectError::Import { import: text() }),
        (422, InspectError::CoreImport { import: text() }),
        (422, InspectError::NoStart),
        (422, InspectError::StartType { found: text() }),
        (422, InspectError::NoMemory),
        (422, InspectError::Threads),
    ];
    check(ChangeError::fault, changes(inspect, ChangeError::Inspect), &[]);
}

#[test]
fn errors_of_secrets() {
    let (function, key) = (text(), text());
    let (theirs, ours, path) = (text(), text(), PathBuf::new());
    let rules = vec![
        (400, RuleError::Key { key: text() }),
        (400, RuleError::TooLarge { bytes: 1 }),
        (400, RuleError::Empty),
        (400, RuleError::NotText),
        (400, RuleError::ZeroByte),
        (409, RuleError::TooMany),
        (409, RuleError::TooMuch { bytes: 1 }),
    ];
    let mut errors = changes(rules, SecretError::Rule);
    errors.extend([
        (500, SecretError::Key(KeyError::Open { path: PathBuf::new(), mode: 0o644 })),
        (404, SecretError::Unknown { function: text(), key: text() }),
        (500, SecretError::OtherKey { function: text(), key: text(), theirs, ours, path }),
        (500, SecretError::Unfit { function: text(), key: text() }),
        (409, SecretError::Removed { function, key }),
        (409, SecretError::InTheWay { function: text(), keys: text() }),
        (500, SecretError::Encrypt { key: text(), source: io(io::ErrorKind::Other) }),
    ]);
    check(ChangeError::fault, changes(errors, ChangeError::Secret), &[]);
}

#[test]
fn errors_of_workers_and_trials() {
    let publish = vec![
        (503, PublishError::Slow),
        (503, PublishError::TooManyWorkers { wanted: 1 }),
        (503, PublishError::Stopping),
    ];
    check(ChangeError::fault, changes(publish, ChangeError::Publish), &[]);
    let trial = vec![
        (422, TrialError::Failed(text())),
        (422, TrialError::Died),
        (503, TrialError::NoWorker),
        (503, TrialError::Slow(Duration::ZERO)),
    ];
    check(ChangeError::fault, changes(trial, ChangeError::Trial), &[]);
    let call = vec![(400, CallError::Path(text())), (502, CallError::Connection("x".into()))];
    check(CallError::fault, call, &[]);
}

#[test]
fn errors_of_changes() {
    let (name, id, there) = (text(), text(), text());
    let errors = vec![
        (400, ChangeError::Name(NameError::Empty)),
        (400, ChangeError::Options(OptionsError::HealthPath(text()))),
        (400, ChangeError::Alias(AliasError::Count(0))),
        (400, ChangeError::Alias(AliasError::Pairs(OptionsError::Unset(text())))),
        (400, ChangeError::AliasName(AliasNameError::Form(text()))),
        (400, ChangeError::Domain(DomainError::Host(text()))),
        (400, ChangeError::NewAlias { name: text(), alias: text() }),
        (422, ChangeError::Unhealthy { path: text(), reason: text() }),
        (422, ChangeError::TrialRequest { reason: text(), invocation: None }),
        (404, ChangeError::Unknown(text())),
        (404, ChangeError::Removed(text())),
        (404, ChangeError::NothingRemoved(text())),
        (404, ChangeError::NoSuchRemoval { name: text(), id: text() }),
        (404, ChangeError::UnknownAlias { name: text(), alias: text() }),
        (409, ChangeError::NotRemoved(text())),
        (409, ChangeError::InTheWay { name, there, id }),
        (409, ChangeError::NotHere { name: text(), version: text() }),
        (409, ChangeError::NotActive(text())),
        (409, ChangeError::NoPrevious(text())),
        (409, ChangeError::ActiveStays(text())),
        (409, ChangeError::TooManyVersions(text())),
        (409, ChangeError::TooManyAliases(text())),
        (409, ChangeError::TooMany),
        (409, ChangeError::NoWorkerLeft(text())),
        (500, ChangeError::Received(io(io::ErrorKind::NotFound))),
        (507, ChangeError::Received(io(io::ErrorKind::StorageFull))),
        (500, ChangeError::Thread(io(io::ErrorKind::WouldBlock))),
        (503, ChangeError::Stopping),
        (503, ChangeError::TakenOver),
    ];
    check(ChangeError::fault, errors, &["being taken over"]);
}
